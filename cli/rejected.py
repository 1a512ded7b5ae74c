"""`touchstream rejected`: events that ingest refused, with their bytes and every reason; mended and sent again."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cli.browse import (
    ID_CHARS,
    SHOWN,
    answering,
    by_beginning,
    complaints,
    console,
    in_json,
    iso,
    last_of,
    preview,
    records_of,
)
from cli.mend import Edit, MendError, Ready, make_ready, parse_edit
from cli.resent import ResentJournal, Sent, open_resent
from cli.send_again import SendAgain, source_of_key
from cli.settings import CliSettings
from services.chassis.avro import Codec
from services.chassis.registry import open_registry
from services.chassis.settings import SharedSettings, load_settings

TOPIC = "touchpoints.rejected"
# What the reasons of a cut body say (ingest keeps 900,000 bytes at most): sending a part of it is no use.
CUT = "bytes are kept"

app = typer.Typer(help="Events that ingest refused, with every reason; `resend` mends and sends them again.")
Source = Annotated[str, typer.Option(help="only of this source")]
Reason = Annotated[str, typer.Option(help="only with this reason, e.g. phone_invalid")]


@dataclass(frozen=True, slots=True)
class Rejected:
    """One refused event. reasons: (code, field, message); received_at in ms UTC; place: partition/offset."""

    id: str
    source: str
    endpoint: str
    received_at: int
    reasons: tuple[tuple[str, str, str], ...]
    raw: bytes
    content_type: str
    remote: str
    place: str

    @property
    def is_cut(self) -> bool:
        """Whether only the beginning of its bytes was kept."""
        return any(field == "raw" and CUT in message for _, field, message in self.reasons)


def rejected_of(bootstrap: str, registry_url: str, newest: int | None = None) -> Iterator[Rejected]:
    """All that are in the topic, oldest first. Raises Retriable, Fatal, Poison."""
    codec = Codec("rejected", open_registry(registry_url))
    for record in records_of(bootstrap, [TOPIC], newest):
        value = codec.decode(record.value)
        reasons = tuple(_reason(text) for text in value["reasons"])
        yield Rejected(
            value["rejected_id"], value["source"], value["endpoint"], value["received_at"], reasons, value["raw"],
            value["content_type"], value["remote"], f"{record.partition}/{record.offset}",
        )  # fmt: skip


def _reason(text: str) -> tuple[str, str, str]:
    code, _, rest = text.partition("|")
    field, _, message = rest.partition("|")
    return code, field, message


@app.callback(invoke_without_command=True)
def rejected(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON object a line with everything; all of them")
    ] = False,
    source: Source = "",
    reason: Reason = "",
    limit: Annotated[int | None, typer.Option(min=1, help=f"only the newest; {SHOWN} unless --json")] = None,
) -> None:
    """Show what ingest refused, newest last."""
    if context.invoked_subcommand is not None:
        return
    with answering():
        settings, resent = load_settings(SharedSettings), open_resent()
        most = limit or (None if as_json else SHOWN)
        # Without a filter the newest of each partition are enough.
        found = rejected_of(settings.kafka_bootstrap, settings.schema_registry_url, None if source or reason else most)
        chosen = last_of((one for one in found if _fits(one, source, reason)), most)
        if as_json:
            for one in chosen:
                print(json.dumps(_as_json(one, resent.get(one.id)), ensure_ascii=False))
        elif chosen:
            console.print(_table(chosen, resent))
        else:
            console.print("nothing was refused" + (" that fits" if source or reason else ""))


@app.command()
def resend(
    ids: Annotated[list[str] | None, typer.Option("--id", help="of this event; its beginning is enough")] = None,
    all_: Annotated[bool, typer.Option("--all", help="all that fit --source and --reason")] = False,
    source: Source = "",
    reason: Reason = "",
    edit: Annotated[
        list[str] | None, typer.Option(help="path=value set in each, e.g. traits.phone=null; values are JSON or text")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="also what was sent again before")] = False,
    url: Annotated[str, typer.Option(help="base URL of ingest; by default TOUCHSTREAM_CLI_URL, else local")] = "",
    write_key: Annotated[str, typer.Option(help="of their source; by default TOUCHSTREAM_CLI_WRITE_KEY")] = "",
) -> None:
    """Send refused events through ingest again: their own bytes, mended by --edit, once each.

    Those it refuses again are new entries here. Exit code 1 when ingest does not answer; what it answered is kept.
    """
    if bool(ids) == all_:
        raise typer.BadParameter("give --id (several times, if you like) or --all")
    with answering():
        settings, resent = load_settings(CliSettings), open_resent()
        edits = _edits(edit or [])
        key = write_key or settings.write_key.get_secret_value()
        found = rejected_of(settings.kafka_bootstrap, settings.schema_registry_url)
        chosen = _chosen([one for one in found if _fits(one, source, reason)], ids or [])
        picked = _pick(chosen, resent, edits, source_of_key(key), again)
        with SendAgain(url or settings.ingest_url(), key) as sender:
            for outcomes in sender.send(picked.ready):
                resent.add(outcomes)
                picked.counts.update(outcomes.values())
    for what, count in picked.counts.items():
        console.print(f"{count:>7,}  {what}")
    if not picked.counts:
        console.print("nothing to send")


@dataclass(slots=True)
class _Picked:
    ready: dict[str, Ready]
    counts: Counter[str]


def _pick(
    chosen: Sequence[Rejected], resent: ResentJournal, edits: Sequence[Edit], own_source: str | None, again: bool
) -> _Picked:
    """What can be sent, by id; the others are counted with the reason."""
    picked = _Picked({}, Counter())
    for one in chosen:
        if one.is_cut:
            picked.counts["too large: only their beginning was kept"] += 1
        elif resent.get(one.id) is not None and not again:
            picked.counts["were sent again before (--again sends them once more)"] += 1
        elif own_source is not None and one.source not in ("", own_source):
            picked.counts[f"of source {one.source}: give its --write-key, this one is {own_source}'s"] += 1
        else:
            try:
                picked.ready[one.id] = make_ready(one.id, one.endpoint, one.raw, edits)
            except MendError as error:
                complaints.print(f"{one.id[:ID_CHARS]}: {error}", markup=False)
                picked.counts["cannot be edited like this"] += 1
    return picked


def _edits(texts: Sequence[str]) -> list[Edit]:
    try:
        return [parse_edit(text) for text in texts]
    except MendError as error:
        raise typer.BadParameter(str(error), param_hint="--edit") from error


def _chosen(found: list[Rejected], ids: Sequence[str]) -> list[Rejected]:
    # A request that was repeated may have left the same refused event twice.
    return by_beginning(found, ids, lambda one: one.id, "events", lambda fits: len({one.id for one in fits}))


def _fits(one: Rejected, source: str, reason: str) -> bool:
    return source in ("", one.source) and (not reason or any(code == reason for code, _, _ in one.reasons))


def _as_json(one: Rejected, sent: Sent | None) -> dict[str, Any]:
    return {
        "id": one.id,
        "received_at": iso(one.received_at),
        "source": one.source,
        "endpoint": one.endpoint,
        "reasons": [{"code": code, "field": field, "message": message} for code, field, message in one.reasons],
        **in_json("raw", one.raw),
        "content_type": one.content_type,
        "remote": one.remote,
        "place": one.place,
        "resent": {"at": iso(sent.at), "outcome": sent.outcome} if sent else None,
    }


def _table(chosen: Sequence[Rejected], resent: ResentJournal) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("received", "source", "reasons", "event", "id"):
        table.add_column(name, overflow="fold", no_wrap=name in ("received", "id"))
    for one in chosen:
        reasons = "\n".join(f"{code} {field}".strip() for code, field, _ in one.reasons)
        again = " sent again" if resent.get(one.id) else ""
        table.add_row(
            iso(one.received_at)[:19].replace("T", " "), one.source, Text(reasons), Text(preview(one.raw)),
            one.id[:ID_CHARS] + again,
        )  # fmt: skip
    return table
