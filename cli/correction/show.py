"""Corrections for people. In lists values are masked; who approves one sees it whole."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from cli.browse import ID_CHARS, iso
from cli.correction.fields import Change, overtaken
from cli.correction.steps import Correction
from cli.quality.masking import shown


def said(change: Change, is_masked: bool) -> str:
    """city: 上海市 → 北京市"""
    former, value = (
        shown(change.field, text) if is_masked else text if one is not None else "none"
        for one, text in ((one, json.dumps(one, ensure_ascii=False)) for one in (change.former, change.value))
    )
    return f"{change.field}: {former} → {value}"


def present(change: Change, profile: Mapping[str, Any] | None) -> str:
    """What the profile says of it by now."""
    now = None if profile is None else profile.get(change.field)
    return f" (now {'none' if now is None else json.dumps(now, ensure_ascii=False)})"


def listed(found: Iterable[Correction]) -> Table:
    """One row a correction, values masked."""
    table = Table(title="corrections", title_justify="left")
    for column in ("id", "state", "asked", "by", "customer", "what", "why"):
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "state"))
    for one in found:
        request = one.request
        table.add_row(
            request.id[:ID_CHARS], one.state, iso(request.at_ms)[:19], request.author, request.customer_id,
            "\n".join(said(change, True) for change in one.changes), request.reason,
        )  # fmt: skip
    return table


def card(one: Correction, profile: Mapping[str, Any] | None = None) -> str:
    """Everything about one, values in plain text: who approves it has to see them, and what the profile says now."""
    since = [] if profile is None else overtaken(one.changes, profile)
    lines = [f"correction {one.request.id} is {one.state}", f"customer {one.request.customer_id}"]
    lines += [f"  {said(change, False)}{present(change, profile) if change in since else ''}" for change in one.changes]
    lines += [
        f"  {iso(step.at_ms)[:19]} {step.step} by {step.author} ({step.account})"
        + (f": {step.reason}" if step.reason else "")
        for step in one.steps
    ]
    return "\n".join(lines)


def as_json(one: Correction, is_masked: bool) -> dict[str, Any]:
    """The line of `--json`."""
    if is_masked:
        fields = [
            {"field": c.field, "former": shown(c.field, json.dumps(c.former, ensure_ascii=False)),
             "value": shown(c.field, json.dumps(c.value, ensure_ascii=False))}
            for c in one.changes
        ]  # fmt: skip
    else:
        fields = [change.as_json() for change in one.changes]
    steps = [
        {"step": s.step, "at": iso(s.at_ms), "author": s.author, "account": s.account, "reason": s.reason}
        for s in one.steps
    ]
    request = one.request
    return {
        "id": request.id, "state": one.state, "customer_id": request.customer_id, "fields": fields, "steps": steps,
    }  # fmt: skip
