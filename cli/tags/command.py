"""`touchstream tags`: look at a file of definitions as profile does, and at whom it would touch before it goes live."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.browse import answering, complaints, console, give_up
from cli.folding import say_passed_over
from cli.publish import partitions_of
from cli.tags.backfill import Backfill, Owed
from cli.tags.population import events_in, histories, thresholds_now
from cli.tags.preview import STAGE, Effect, Preview, changed, preview
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal
from services.chassis.redis.client import sync_client
from services.chassis.settings import load_settings
from services.profile.adapters import load_config
from services.profile.core.config import ProfileConfig
from services.profile.core.tagging.catalogue import SEGMENT, Definition
from services.profile.settings import ProfileSettings

TIMEOUT_S = 600
_HELD = "SELECT customer_id, stage, tags_json FROM customers"

app = typer.Typer(no_args_is_help=True, help="Tags, stages and segments: what is defined, and whom it would touch.")
File = Annotated[Path | None, typer.Argument(help="the file; default: the one profile reads")]


@app.command()
def check(file: File = None) -> None:
    """Check FILE and show what it defines; exit 1 with every mistake, its key and what was expected."""
    with answering():
        settings = load_settings(ProfileSettings)
        config = _config(settings, file)
    catalogue = config.catalogue
    for counter in catalogue.counters.values():
        how = f" where {counter.where}" if counter.where else ""
        how += f", each of {counter.each}" if counter.each else ""
        how += f", sum of {counter.sum}" if counter.sum else ""
        typer.echo(f"counter  {counter.name}: {', '.join(counter.events)}{how}")
    for stage in catalogue.stages:
        typer.echo(f"stage    {stage.name}" + (f": {stage.source}" if stage.source else ""))
    for definition in catalogue.tags:
        typer.echo(f"{_kind(definition)}  {_plain(definition.name)} ({definition.group}): {definition.source}")
    tags = sum(not definition.name.startswith(SEGMENT) for definition in catalogue.tags)
    typer.echo(
        f"{len(catalogue.counters)} counters, {tags} tags, {len(catalogue.tags) - tags} segments in"
        f" {file or settings.tags}, all good (version {catalogue.version})"
    )


@app.command(name="preview")
def preview_command(
    file: File = None,
    names: Annotated[
        list[str] | None, typer.Option("--tag", help="only this tag (segment:NAME, stage:NAME); may be repeated")
    ] = None,
    most: Annotated[int, typer.Option("--examples", min=0, max=1_000, help="customers to show of each change")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Say how many customers FILE would touch, and whom, before it goes live: every history is folded anew.

    Without --tag: what is new or says something else than the file that profile reads; of that file itself everything.
    """
    with answering():
        settings = load_settings(ProfileSettings)
        config, running = _config(settings, file), _config(settings, None)
        known = {definition.name for definition in config.catalogue.tags}
        known |= {STAGE + stage.name for stage in config.catalogue.stages}
        if missing := set(names or ()) - known:
            give_up(f"--tag {', '.join(sorted(missing))}: not in the file; it has {', '.join(sorted(known))}")
        store = connect(settings, TIMEOUT_S)
        found = _look(store, config, most)
    chosen = names or changed(config.catalogue, running.catalogue)
    if not chosen and file is None:
        chosen = list(found.effects)
    effects = [found.effects[name] for name in chosen if name in found.effects]
    gone = [name for name in chosen if name not in found.effects]
    if as_json:
        print(json.dumps({"customers": found.customers, "effects": [asdict(e) for e in effects], "gone": gone}))
        return
    _print(effects, gone, found.customers)


@app.command()
def backfill() -> None:
    """Have everybody judged by the file that profile reads, with what new counters had missed, while profile runs.

    Profile must have been started with that file. Exit code 1 when some are left: they are named, and the command may
    be called again.
    """
    with answering():
        settings = load_settings(ProfileSettings)
        config = _config(settings, None)
        partitions = partitions_of(settings.kafka_bootstrap, "touchpoints.resolved")
        work = Backfill(sync_client(settings.redis_url), connect(settings, TIMEOUT_S), config, partitions)
        owed = work.left()
        with _progress() as progress:
            task = progress.add_task("backfill", total=len(owed))
            left = work.run(owed, lambda count: progress.advance(task, count))
    done = len(owed) - len(left)
    console.print(f"{done:,} customers judged by {settings.tags} (version {config.catalogue.version})", markup=False)
    if left:
        give_up("\n".join(_said_of(left)))


def _said_of(left: list[Owed]) -> Iterator[str]:
    """Who was not judged, by what keeps them."""
    waiting = [one.customer_id for one in left if one.waits]
    others = [one.customer_id for one in left if not one.waits]
    if others:
        yield (
            f"{len(others):,} customers are left, e.g. {', '.join(others[:5])}: profile does not run with this file, or"
            " ClickHouse does not have their events whole (archive behind, or history deleted: then"
            " touchstream_profile_refolds_refused_total grows)"
        )
    if waiting:
        yield (
            f"{len(waiting):,} customers wait in profile for a record or for parts handed over, e.g."
            f" {', '.join(waiting[:5])}: nothing is concluded for them before it has come; call the command again then"
        )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True),
        console=complaints, transient=True, disable=not complaints.is_terminal,
    )  # fmt: skip


def _look(store: Clickhouse, config: ProfileConfig, most: int) -> Preview:
    held = _held(store)
    passed_over: list[int] = []
    with _progress() as progress:
        task = progress.add_task("folding histories", total=events_in(store))
        found = preview(
            histories(store, config, lambda count: progress.advance(task, count), passed_over.append),
            lambda customer_id: held.get(customer_id, {}), thresholds_now(store), now_ms(), config, most,
        )  # fmt: skip
    say_passed_over(sum(passed_over), partial(complaints.print, markup=False))
    return found


def _held(store: Clickhouse) -> dict[str, dict[str, str]]:
    """What every current customer holds: tag → reason, and the stage. Of all of them at once, about 1 KB each."""
    held = {}
    for customer_id, stage, tags in store.stream_rows(_HELD):
        held[customer_id] = {tag["name"]: tag["reason"] for tag in json.loads(tags)} | {"stage": stage}
    return held


def _config(settings: ProfileSettings, file: Path | None) -> ProfileConfig:
    path = str(file) if file is not None else settings.tags
    if not Path(path).exists():
        raise Fatal(f"{path}: there is no such file")
    return load_config(settings.config, path, settings.time_zone)


def _print(effects: list[Effect], gone: list[str], customers: int) -> None:
    table = Table(title=f"{customers:,} customers", title_justify="left")
    table.add_column("tag, segment or stage")
    for name in ("now", "then", "come", "go"):
        table.add_column(name, justify="right")
    table.add_column("examples", overflow="fold")
    for effect in effects:
        examples = [f"+ {customer} {reason}" for customer, reason in effect.gains]
        examples += [f"- {customer} {reason}" for customer, reason in effect.losses]
        table.add_row(
            _plain(effect.name), f"{effect.now:,}", f"{effect.then:,}", f"{effect.gained:,}", f"{effect.lost:,}",
            "\n".join(examples),
        )  # fmt: skip
    console.print(table)
    for name in gone:
        console.print(f"{name} is gone: whoever holds it loses it", markup=False)
    if not effects and not gone:
        console.print("nothing is new and nothing says something else than in the file that profile reads")


def _kind(definition: Definition) -> str:
    return "segment" if definition.name.startswith(SEGMENT) else "tag    "


def _plain(name: str) -> str:
    return name.removeprefix(SEGMENT)
