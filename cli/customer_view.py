"""Customers for people: a table of many, a card of one. Only layout; nothing is asked or computed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iso4217 import Currency
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.customer_facts import Customer, iso

STAGE_STYLES = {
    "prospect": "cyan",
    "first_purchase": "green",
    "repeat": "green",
    "loyal": "bold green",
    "dormant": "yellow",
    "churned": "red",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of a customer's timeline; at_ms since 1970-01-01 UTC."""

    at_ms: int
    name: str
    source: str
    amount_minor: int
    currency: str


def table(customers: Sequence[Customer], title: str, more: int) -> RenderableType:
    """Customers, one a row; `more` are not shown."""
    rows = Table(title=title, title_justify="left", row_styles=["", "dim"])
    rows.add_column("customer", no_wrap=True)
    rows.add_column("identifiers", overflow="fold")
    rows.add_column("stage")
    for name in ("R", "F", "M", "orders", "net spend", "events"):
        rows.add_column(name, justify="right", no_wrap=True)
    rows.add_column("last seen", no_wrap=True)
    rows.add_column("tags", overflow="fold")
    for one in customers:
        rows.add_row(
            one.customer_id, "\n".join(one.identifiers[:3]), _stage(one), *(_score(n) for n in (one.r, one.f, one.m)),
            str(one.frequency), money(one.monetary_minor, one.currency), str(one.events), short(one.last_seen),
            ", ".join(tag.name for tag in one.tags),
        )  # fmt: skip
    if not customers:
        return Text(f"{title}: none yet")
    return Group(rows, Text(f"and {more} more: use --limit or --json", style="dim")) if more else rows


def card(customer: Customer, moments: Sequence[Moment]) -> RenderableType:
    """Everything about one customer."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("identifiers", "\n".join(customer.identifiers))
    facts.add_row("stage", _stage(customer))
    facts.add_row("seen", f"{short(customer.first_seen)} to {short(customer.last_seen)}, {customer.events} events")
    facts.add_row("RFM", _rfm(customer))
    facts.add_row("traits", ", ".join(f"{name}: {_shown(value)}" for name, value in sorted(customer.traits.items())))
    parts: list[RenderableType] = [facts]
    if customer.tags:
        tags = Table(title="tags", title_justify="left")
        for name in ("tag", "since", "until", "reason"):
            tags.add_column(name, overflow="fold", no_wrap=name in ("since", "until"))
        for tag in customer.tags:
            tags.add_row(tag.name, short(tag.since), short(tag.until), tag.reason)
        parts += ["", tags]
    if moments:
        last = Table(title="last events", title_justify="left")
        for name in ("when", "event", "source", "amount"):
            last.add_column(name)
        for moment in moments:
            amount = money(moment.amount_minor, moment.currency) if moment.amount_minor else ""
            last.add_row(short(moment.at_ms), moment.name, moment.source, amount)
        parts += ["", last]
    return Panel(Group(*parts), title=f"customer {customer.customer_id}", title_align="left")


def money(minor: int, currency: str) -> str:
    """Minor units for people: 12900 CNY → 129.00 CNY; an unknown currency stays in minor units."""
    try:
        digits = Currency(currency).exponent or 0
    except ValueError:
        return f"{minor:,}" if minor else ""
    return f"{minor / 10**digits:,.{digits}f} {currency}"


def short(ms: int) -> str:
    """2025-06-15 14:00, UTC; empty for never."""
    text = iso(ms)
    return text[:16].replace("T", " ") if text else ""


def _rfm(customer: Customer) -> str:
    if customer.recency_days < 0:
        return "no purchase"
    scores = f"R{customer.r} F{customer.f} M{customer.m}" if customer.r else "not scored yet"
    return (
        f"{scores}: last purchase {customer.recency_days} days ago, {customer.frequency} orders,"
        f" {money(customer.monetary_minor, customer.currency)} in the window"
        + (f" (thresholds {customer.thresholds_version})" if customer.thresholds_version else "")
    )


def _stage(customer: Customer) -> Text:
    return Text(customer.stage, style=STAGE_STYLES.get(customer.stage, ""))


def _score(value: int) -> str:
    return str(value) if value else "–"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
