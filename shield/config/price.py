"""Settings of a price."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core.core_schema import CoreSchema

from shield.config.places import did_you_mean
from shield.config.section import Section, matching
from shield.config.units import ExpectedError, Size, size_needed
from shield.rules.prices import PRESETS, Price
from shield.rules.zones import zone_fault

_LISTED = " ".join(PRESETS)


def _zone(name: str) -> str:
    fault = zone_fault(name)
    if fault is not None:
        raise ExpectedError(fault)
    return name


class PriceTierSettings(Section):
    """The price of egress from a number of bytes in a month on."""

    beyond: Size = size_needed("Bytes of egress in the month, free ones included.", least=1)
    egress: Annotated[float, Field(ge=0, le=1_000_000)] = Field(description="For each further GB.")


class PriceSettings(Section):
    """The price of reading from an origin: the name of a list price, or your own values, over a preset's if any."""

    preset: str | None = Field(default=None, description="List price by name, which the keys below change.")
    egress: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="For each GB (1,000,000,000 bytes) out of the origin."
    )
    requests: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="For each 1,000 requests that read. If omitted: the preset's, or 0."
    )
    free: Size | None = Field(
        default=None,
        description="Bytes of egress a month that cost nothing. If omitted: the preset's.",
    )
    tiers: tuple[PriceTierSettings, ...] | None = Field(
        default=None,
        description="Prices of egress beyond numbers of bytes a month, in their order. If omitted: the preset's.",
    )
    billed: tuple[Literal["2xx", "3xx", "4xx", "5xx", "none"], ...] | None = Field(
        default=None,
        description="Responses whose requests are billed; none: there was no response. If omitted: 2xx 3xx 4xx, as "
        "most providers do, who bill a 404 like an object.",
    )
    currency: Annotated[str, matching("[A-Z]{3}", "a currency, as USD or EUR")] | None = Field(
        default=None, description="If omitted: the preset's, or USD."
    )

    zone: Annotated[str, AfterValidator(_zone)] | None = Field(
        default=None,
        description="Time zone of the provider's days and months, in bills and budgets, as America/Los_Angeles. If "
        "omitted: the preset's, or UTC.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        shown = handler.resolve_ref_schema(handler(core))
        shown["properties"]["preset"]["anyOf"][0] = {"enum": list(PRESETS)}
        return {"anyOf": [{"enum": list(PRESETS)}, shown]}

    @model_validator(mode="before")
    @classmethod
    def _by_name_or_by_value(cls, value: Any) -> Any:
        given = {"preset": value} if isinstance(value, str) else value
        if not isinstance(given, dict):
            raise ExpectedError(f"expected a mapping, as {{egress: 0.05, currency: EUR}}, or one of {_LISTED}")
        preset = given.get("preset")
        if isinstance(preset, str) and preset not in PRESETS:
            guess = did_you_mean(preset, list(PRESETS))
            raise ExpectedError(f"expected a mapping, as {{egress: 0.05}}, or one of {_LISTED}{guess}")
        if preset is None and given.get("egress") is None:
            raise ExpectedError("expected egress, the price of a GB, as {egress: 0.05, currency: EUR}")
        return given

    @property
    def price(self) -> Price:
        """The price that holds."""
        base = Price(0.0) if self.preset is None else PRESETS[self.preset].price
        # A preset's allowance and tiers belong to its egress.
        own = (base.free, base.tiers) if self.egress is None else (0.0, ())
        return Price(
            egress=base.egress if self.egress is None else self.egress,
            requests=base.requests if self.requests is None else self.requests,
            currency=self.currency or base.currency,
            free=own[0] if self.free is None else float(self.free),
            tiers=own[1] if self.tiers is None else tuple([(float(t.beyond), t.egress) for t in self.tiers]),
            billed=base.billed if self.billed is None else self.billed,
            zone=self.zone or base.zone,
        )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        bounds = [tier.beyond for tier in self.tiers or ()]
        if bounds != sorted(set(bounds)):
            raise ExpectedError("expected tiers in the order of their bytes, each beyond the one before")
        if bounds and self.free is not None and self.free >= bounds[0]:
            raise ExpectedError("expected free to be less than the first tier's beyond, which includes it")
        return self
