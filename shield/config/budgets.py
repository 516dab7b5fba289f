"""Settings of budgets of egress."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from shield.config.origin import OriginSettings
from shield.config.section import Name, OrOff, Section
from shield.config.units import SIZE_SPELLING, ExpectedError, Portion, parse_share, parse_size
from shield.rules.budgets import ACTS, EgressBudget, Period, Spendable

_MONEY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Z]{3})").fullmatch
_MONEY_SPELLING = r"^[0-9]+(\.[0-9]+)? ?[A-Z]{3}$"


def parse_amount(value: object) -> Spendable:
    """Money in `500 EUR` or `0.5USD`, or bytes in `20TB` or `500GiB`. Raises ExpectedError."""
    if isinstance(value, Spendable):
        return value
    try:
        found = Spendable(float(parse_size(value)))
    except ExpectedError:
        match = _MONEY(value) if isinstance(value, str) else None
        if match is None:
            raise ExpectedError("expected money, as 500 EUR, or bytes, as 20TB") from None
        found = Spendable(float(match[1]), match[2])
    if not 0.0 < found.value < math.inf:
        raise ExpectedError("expected an amount above 0")
    return found


def _shares(value: tuple[float, ...]) -> tuple[float, ...]:
    if list(value) != sorted(set(value)) or any(not share for share in value):
        raise ExpectedError("expected shares above 0, each once, in their order, as [50%, 80%, 100%]")
    return value


Amount = Annotated[
    Spendable,
    PlainValidator(parse_amount),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": f"{_MONEY_SPELLING}|{SIZE_SPELLING}"}]}
    ),
]
_FromShare = Annotated[Annotated[Portion, Field(ge=0.01)] | None, OrOff()]
_ProviderName = Literal["aws", "gcs", "r2", "b2", "wasabi", "minio", "ceph", "swift", "http"]


def _step(default: str, description: str) -> Any:
    """A field of an act; the schema shows its default as spelled here."""
    value = None if default == "off" else parse_share(default)
    return Field(default=value, description=description, json_schema_extra={"default": default})


class BudgetThenSettings(Section):
    """The measures of a budget, and the shares of its amount from which they apply. Hits are always served."""

    dearer: _FromShare = _step(
        "80%",
        "Routes with `choose: nearest` or `cheapest` try other origins first: it costs as if it was a second slower, "
        "or dearer than all others. Other routes go on as they are told to.",
    )
    pause: _FromShare = _step(
        "90%", "Hedges to it, comparisons with its copies, warming and prefetches pause. Probes go on."
    )
    stale: _FromShare = _step(
        "100%",
        "Stale entries are served for as long as they may replace an error (`freshness.error_grace`), and "
        "hardly refreshed, if this holds for all origins of their route. Cache-Status: `detail=budget`.",
    )
    refuse: _FromShare = _step(
        "off",
        "It isn't asked any more: other origins of the route are, and if none has the object clients get 503 with "
        "Retry-After. Off, since an outage mostly costs more than bytes. 100%: the amount is a cap.",
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        given = [share for name in ACTS if (share := getattr(self, name)) is not None]
        if given != sorted(given):
            raise ExpectedError("expected shares that rise: dearer, pause, stale, refuse")
        return self


class BudgetSettings(Section):
    """The most that may be read from origins in a day or a month, in money or bytes, and the measures near it."""

    origins: tuple[Name, ...] = Field(
        default=(), description="Origins that it is for, all together. Without origins, providers and labels: all."
    )
    providers: tuple[_ProviderName, ...] = Field(default=(), description="Instead: all origins of these providers.")
    labels: Mapping[Name, str] = Field(
        default_factory=dict,
        description="Instead: all origins that have these labels, their own or those of the node.",
        json_schema_extra={"additionalProperties": {"type": "string"}},
    )
    per: Literal["day", "month"] = Field(
        description="For how long the amount is. Days and months of an origin are those of its `price.zone`."
    )
    amount: Amount = Field(
        description="Money by the prices of its origins, as 500 EUR, or bytes, as 20TB. All workers' together."
    )
    burst: Amount | None = Field(
        default=None,
        description="The most that may be read in an hour. Beyond it, all of `then` applies until the hour is over. "
        "If omitted: any.",
    )
    then: BudgetThenSettings = Field(
        default_factory=BudgetThenSettings, description="Its measures, by the share that is spent."
    )
    alarms: Annotated[tuple[Portion, ...], AfterValidator(_shares)] = Field(
        default=(0.5, 0.8, 1.0),
        description="Shares of the amount at which people are told.",
        json_schema_extra={"default": ["50%", "80%", "100%"]},
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sum([bool(self.origins), bool(self.providers), bool(self.labels)]) > 1:
            raise ExpectedError("expected one of origins, providers and labels")
        if self.burst is not None and self.burst.currency != self.amount.currency:
            raise ExpectedError("expected burst and amount both in bytes, or in the same currency")
        return self

    def names(self, origins: Mapping[str, OriginSettings], labels: Mapping[str, str]) -> tuple[str, ...]:
        """The origins that it is for; `labels` are those of the node."""
        if self.origins:
            return tuple([name for name in self.origins if name in origins])
        return tuple(
            [
                name
                for name, origin in origins.items()
                if (not self.providers or origin.provider in self.providers)
                and self.labels.items() <= {**labels, **origin.labels}.items()
            ]
        )

    def rule(self, name: str, origins: tuple[str, ...]) -> EgressBudget:
        """The budget of these origins."""
        acts = {act: share for word, act in ACTS.items() if (share := getattr(self.then, word)) is not None}
        burst = None if self.burst is None else self.burst.value
        return EgressBudget(name, origins, Period(self.per), self.amount, burst, acts, self.alarms)


def budget_faults(
    budget: BudgetSettings, origins: Mapping[str, OriginSettings], labels: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The mistakes in a budget among these origins: the key, and the expected value."""
    names, currency = budget.names(origins, labels), budget.amount.currency
    if not names:
        key = "providers" if budget.providers else "labels" if budget.labels else "origins"
        yield key, "no origin is meant; expected at least one"
    for name in names if currency is not None else ():
        price = origins[name].price
        if price is None:
            yield "amount", f"origin {name} has no price; expected origins.{name}.price, or an amount in bytes"
        elif price.price.currency != currency:
            said = f"the price of origin {name} is in {price.price.currency}"
            yield "amount", f"{said}; expected an amount in {price.price.currency}, since nothing is converted"
