"""`touchstream dead`: records that a service could never process, and the safe ways to send them again."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from cli.browse import (
    ID_CHARS,
    SHOWN,
    answering,
    by_beginning,
    console,
    in_json,
    iso,
    last_of,
    preview,
    records_of,
)
from cli.dead_plan import TOUCHPOINTS, Anew, Back, Letter, Refused, plan
from cli.publish import partitions_of, publish
from cli.resent import ResentJournal, Sent, open_resent
from services.chassis.avro import Codec
from services.chassis.errors import Poison
from services.chassis.ids import partition_of, stable_id
from services.chassis.records import Output
from services.chassis.registry import open_registry
from services.chassis.settings import SharedSettings, load_settings
from services.chassis.topics import load_topics

SUFFIX = ".dead"
PRODUCED = "produced"

app = typer.Typer(help="Records that a service gave up, with their bytes; `resend` puts them back where it is safe.")
Service = Annotated[str, typer.Option(help="only those that this service gave up")]


def letters_of(bootstrap: str, registry_url: str, service: str = "", newest: int | None = None) -> Iterator[Letter]:
    """All dead letters, oldest first. Raises Retriable, Fatal, Poison."""
    codec = Codec("dead_letter", open_registry(registry_url))
    topics = [name for name in load_topics() if name.endswith(SUFFIX) and service in ("", name.removesuffix(SUFFIX))]
    if not topics:
        known = sorted(name.removesuffix(SUFFIX) for name in load_topics() if name.endswith(SUFFIX))
        raise typer.BadParameter(f"no dead letters of {service!r}; there are those of {', '.join(known)}")
    for record in records_of(bootstrap, topics, newest):
        value = codec.decode(record.value)
        headers = msgspec.json.decode(value.pop("headers") or b"{}", type=dict[str, str])
        # Offsets begin anew with every start of the in-memory broker, so the moment is part of the id.
        place = f"{value['topic']}/{value['partition']}/{value['offset']}"
        yield Letter(id=stable_id(value["service"], place, str(value["failed_at"])), headers=headers, **value)


@app.callback(invoke_without_command=True)
def dead(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line, with everything")] = False,
    service: Service = "",
    limit: Annotated[int | None, typer.Option(min=1, help=f"only the newest; {SHOWN} unless --json")] = None,
) -> None:
    """Show what services gave up, newest last."""
    if context.invoked_subcommand is not None:
        return
    with answering():
        settings, resent = load_settings(SharedSettings), open_resent()
        most = limit or (None if as_json else SHOWN)
        chosen = last_of(letters_of(settings.kafka_bootstrap, settings.schema_registry_url, service, most), most)
        if as_json:
            for one in chosen:
                print(json.dumps(_as_json(one, resent.get(one.id)), ensure_ascii=False))
        elif chosen:
            console.print(_table(chosen, resent))
        else:
            console.print("no dead letters")


@app.command()
def resend(
    ids: Annotated[list[str] | None, typer.Option("--id", help="of this letter; its beginning is enough")] = None,
    all_: Annotated[bool, typer.Option("--all", help="all that fit --service")] = False,
    service: Service = "",
    again: Annotated[bool, typer.Option("--again", help="also what was sent again before")] = False,
) -> None:
    """Send dead letters again where nobody works on anything twice by that, and say why for the others.

    Back into the topic they came from, byte for byte; an event that profile gave up goes to touchpoints as a new
    one. Exit code 1 when one of them is refused.
    """
    if bool(ids) == all_:
        raise typer.BadParameter("give --id (several times, if you like) or --all")
    with answering():
        settings, resent = load_settings(SharedSettings), open_resent()
        found = list(letters_of(settings.kafka_bootstrap, settings.schema_registry_url, service))
        counts: Counter[str] = Counter()
        outputs: dict[str, Output] = {}
        refused = 0
        for letter in by_beginning(found, ids or [], lambda one: one.id, "letters"):
            if resent.get(letter.id) is not None and not again:
                counts["were sent again before (--again sends them once more)"] += 1
                continue
            decided = plan(letter, load_topics()[letter.topic].read_by, _touchpoint(letter, settings))
            if isinstance(decided, Refused):
                counts[f"{letter.service}, {letter.topic}: not sent. {decided.why}"] += 1
                refused += 1
            else:
                outputs[letter.id] = _output(letter, decided, settings)
                counts[_told(letter, decided)] += 1
        if outputs:
            publish(settings.kafka_bootstrap, list(outputs.values()))
            resent.add(dict.fromkeys(outputs, PRODUCED))
    for what, count in counts.items():
        console.print(f"{count:>7,}  {what}", soft_wrap=True)
    if not counts:
        console.print("nothing to send")
    raise typer.Exit(1 if refused else 0)


def _told(letter: Letter, decided: Back | Anew) -> str:
    if isinstance(decided, Back):
        return f"{letter.service}: back into {letter.topic}"
    return (
        f"{letter.service}: as a new event into {TOUCHPOINTS}. ClickHouse has the former copy too, under its own"
        " event id; the new one names it in context.resent"
    )


def _output(letter: Letter, decided: Back | Anew, settings: SharedSettings) -> Output:
    if isinstance(decided, Back):
        return Output(letter.topic, letter.partition, letter.key, letter.value, list(decided.headers))
    codec = Codec("touchpoint", open_registry(settings.schema_registry_url))
    partition = partition_of(decided.key, partitions_of(settings.kafka_bootstrap, TOUCHPOINTS))
    return Output(TOUCHPOINTS, partition, decided.key, codec.encode(dict(decided.touchpoint)))


def _touchpoint(letter: Letter, settings: SharedSettings) -> Mapping[str, Any] | None:
    try:
        return Codec("touchpoint", open_registry(settings.schema_registry_url)).decode(letter.value)
    except Poison:
        return None


def _as_json(one: Letter, sent: Sent | None) -> dict[str, Any]:
    return {
        "id": one.id,
        "failed_at": iso(one.failed_at),
        "service": one.service,
        "topic": one.topic,
        "partition": one.partition,
        "offset": one.offset,
        "error": one.error,
        "code_version": one.code_version,
        "headers": dict(one.headers),
        **in_json("key", one.key),
        **in_json("value", one.value),
        "resent": {"at": iso(sent.at), "outcome": sent.outcome} if sent else None,
    }


def _table(chosen: Sequence[Letter], resent: ResentJournal) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("failed", "service", "from", "error", "key", "id"):
        table.add_column(name, overflow="fold", no_wrap=name in ("failed", "id"))
    for one in chosen:
        again = " sent again" if resent.get(one.id) else ""
        table.add_row(
            iso(one.failed_at)[:19].replace("T", " "), one.service, f"{one.topic}/{one.partition}/{one.offset}",
            Text(one.error), Text(preview(one.key, 40)), one.id[:ID_CHARS] + again,
        )  # fmt: skip
    return table
