"""Settings of a price."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core.core_schema import CoreSchema

from shield.config.places import did_you_mean
from shield.config.section import Name, Section, Text, matching
from shield.config.units import ExpectedError, Size, size_needed
from shield.rules.prices import GB, GIB, PRESETS, Price, PricePreset
from shield.rules.zones import zone_fault

_EXPECTED = f"expected a mapping, as {{egress: 0.05}}, or one of {' '.join(PRESETS)}, or a name in price_list"


PRICE_LIST = ("price_list",)
PRICE_LIST_FILE = ("price_list_file",)


def with_own_prices(values: Any) -> Any:
    """Settings as read, in which names of prices in `price_list` are replaced by these. What isn't as it should be is
    left to be reported where it is written.
    """
    own = values.get(PRICE_LIST[0]) if isinstance(values, dict) else None
    origins = values.get("origins") if isinstance(values, dict) else None
    if not isinstance(own, dict) or not isinstance(origins, dict):
        return values
    made = {name: _with_own_price(origin, own) for name, origin in origins.items()}
    cluster = {"cluster": _with_own_price(values["cluster"], own)} if "cluster" in values else {}
    return {**values, "origins": made, **cluster}


def _with_own_price(origin: Any, own: Mapping[str, Any]) -> Any:
    given = _spelled_out(origin.get("price")) if isinstance(origin, dict) else None
    name = given.get("preset") if isinstance(given, dict) else None
    base = _spelled_out(own.get(name)) if isinstance(name, str) else None
    if not isinstance(given, dict) or not isinstance(base, dict):
        return origin
    try:
        PriceSettings.model_validate(base)
    except ValidationError:
        return {**origin, "price": None}
    # An allowance and tiers belong to their egress.
    dropped = {"free", "tiers"} if "egress" in given else set()
    kept = {key: value for key, value in base.items() if key not in dropped}
    return {**origin, "price": {**kept, **{key: value for key, value in given.items() if key != "preset"}}}


def _spelled_out(value: Any) -> Any:
    return {"preset": value} if isinstance(value, str) else value


def _day(value: Any) -> Any:
    try:
        return value if isinstance(value, date) else date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ExpectedError("expected a day, as 2026-11-01") from None


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
        default=None, description="For each unit of bytes out of the origin."
    )
    unit: Literal["GB", "GiB"] | None = Field(
        default=None,
        description="The bytes that egress, tiers and surcharges are for: GB, 1,000,000,000; or GiB, 1,073,741,824, "
        "which is what AWS and Google mean by a GB. If omitted: the preset's, or GB.",
    )
    requests: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="For each 1,000 requests that read. If omitted: the preset's, or 0."
    )
    free: Size | None = Field(
        default=None,
        description="Bytes of egress a month that cost nothing. If omitted: the preset's.",
    )
    free_requests: Annotated[int, Field(ge=0, le=10**15)] | None = Field(
        default=None, description="Billed requests a month that cost nothing. If omitted: the preset's."
    )
    stored: Size | None = Field(
        default=None,
        description="Bytes that are stored there, for presets that go by them: b2, where three times as much is free "
        "a month, and wasabi, which throttles reads beyond it.",
    )
    account: Name | None = Field(
        default=None,
        description="The provider's account: origins with the same one share its free allowance and its "
        "tiers, as providers add up. Their prices have the same zone. If omitted: each origin has its own.",
    )
    to: Literal["internet", "region", "partner"] = Field(
        default="internet",
        description="Where the node is. region: in the same region of the provider; partner: in a network to which "
        "egress is free by contract. Of presets that know it, egress is 0 there.",
    )
    surcharges: Mapping[Name, Annotated[float, Field(ge=0, le=1_000_000)]] = Field(
        default_factory=dict,
        description="Prices for each unit of bytes beside egress, from the first byte on, by name: as retrieval of "
        "cold storage, a NAT gateway, or access across regions.",
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

    read: Annotated[date, BeforeValidator(_day)] | None = Field(
        default=None,
        description="The day on which it was read or agreed on; 180 days later there is a note. If omitted: the "
        "preset's.",
    )
    source: Text | None = Field(default=None, description="Where it is written down. If omitted: the preset's.")
    zone: Annotated[str, AfterValidator(_zone)] | None = Field(
        default=None,
        description="Time zone of the provider's days and months, in bills and budgets, as America/Los_Angeles. If "
        "omitted: the preset's, or UTC.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        shown = handler.resolve_ref_schema(handler(core))
        named = [{"enum": list(PRESETS)}, {"type": "string", "description": "A name in price_list."}]
        shown["properties"]["preset"]["anyOf"][:1] = named
        return {"anyOf": [*named, shown]}

    @model_validator(mode="before")
    @classmethod
    def _by_name_or_by_value(cls, value: Any) -> Any:
        given = _spelled_out(value)
        if not isinstance(given, dict):
            raise ExpectedError(_EXPECTED)
        preset = given.get("preset")
        if isinstance(preset, str) and preset not in PRESETS:
            guess = did_you_mean(preset, list(PRESETS))
            raise ExpectedError(f"{_EXPECTED}{guess}")
        # An unknown key, perhaps this one misspelt, is reported by itself.
        is_complete = preset is not None or given.get("egress") is not None
        if not is_complete and given.keys() <= cls.model_fields.keys():
            raise ExpectedError("expected egress, the price of a GB, as {egress: 0.05, currency: EUR}")
        return given

    @property
    def listed(self) -> PricePreset | None:
        """It as a list price, with date and source; None: it isn't known when it was read."""
        preset = None if self.preset is None else PRESETS[self.preset]
        read = self.read or (None if preset is None else preset.read)
        if read is None:
            return None
        source, caveat = ("", "") if preset is None else (preset.source, preset.caveat)
        # What a preset leaves out is of its egress.
        return PricePreset(self.price, read, self.source or source, caveat if self.egress is None else "")

    @property
    def price(self) -> Price:
        """The price that holds."""
        preset = None if self.preset is None else PRESETS[self.preset]
        base = Price(0.0) if preset is None else preset.price
        # A preset's allowance and tiers belong to its egress.
        own = (base.free, base.tiers) if self.egress is None else (0.0, ())
        egress, stored = base.egress if self.egress is None else self.egress, float(self.stored or 0)
        if self.egress is None and preset is not None:
            own = (own[0] + preset.free_stored * stored, own[1])
            if self.to in preset.free_to:
                egress, own = 0.0, (0.0, ())
        return Price(
            egress=egress,
            requests=base.requests if self.requests is None else self.requests,
            currency=self.currency or base.currency,
            free=own[0] if self.free is None else float(self.free),
            tiers=own[1] if self.tiers is None else tuple([(float(t.beyond), t.egress) for t in self.tiers]),
            billed=base.billed if self.billed is None else self.billed,
            zone=self.zone or base.zone,
            unit=base.unit if self.unit is None else {"GB": GB, "GiB": GIB}[self.unit],
            free_requests=base.free_requests if self.free_requests is None else float(self.free_requests),
            surcharges=tuple(sorted(self.surcharges.items())),
            account=self.account or "",
            limit=0.0 if preset is None else preset.most_stored * stored,
        )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fault = zone_fault(self.price.zone)  # a preset's
        if fault is not None:
            raise ExpectedError(fault)
        preset = None if self.preset is None else PRESETS[self.preset]
        if self.stored is not None and (preset is None or not (preset.free_stored or preset.most_stored)):
            known = [name for name, each in PRESETS.items() if each.free_stored or each.most_stored]
            raise ExpectedError(f"expected stored only with a preset that goes by it: {' or '.join(known)}")
        if self.to != "internet" and (preset is None or self.to not in preset.free_to):
            known = [name for name, each in PRESETS.items() if self.to in each.free_to]
            raise ExpectedError(
                f"expected `to: {self.to}` only with a preset that knows it ({', '.join(known)}), or egress"
            )
        bounds = [tier.beyond for tier in self.tiers or ()]
        if bounds != sorted(set(bounds)):
            raise ExpectedError("expected tiers in the order of their bytes, each beyond the one before")
        if bounds and self.price.free >= bounds[0]:
            raise ExpectedError("expected free to be less than the first tier's beyond, which includes it")
        return self
