"""Wiring of `touchstream identity replay`."""

import json
import time
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.browse import answering, complaints, console, give_up
from cli.corrections import correct_all
from cli.history.gather import chains, identifiers_of, names_of
from cli.reresolve import show
from cli.reresolve.apply import Applied, apply
from cli.reresolve.compare import Difference, Homes, Refusal, compare, corrections, with_later_nodes
from cli.reresolve.scratch import scratch
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.redis.client import sync_client
from services.chassis.redis.ledger import Ledger
from services.chassis.registry import open_registry
from services.chassis.settings import load_settings
from services.identity.adapters import TAG, load_policy
from services.identity.core.policy import Policy
from services.identity.rebuild.again import Again, Outcome
from services.identity.rebuild.older import Older
from services.identity.rebuild.requests import links_of
from services.identity.settings import IdentitySettings

TIMEOUT_S = 3_600
# Offsets before which everything is asked for: all there is.
_ALL, _PARTITIONS = 2**63 - 1, 4_096
_TOTAL = "SELECT count() AS n, countIf(batch = 0) AS unordered FROM events_raw FINAL"
_HOMES = "SELECT node, customer_id FROM identifiers"
_REFUSED = "SELECT DISTINCT kind, reason, nodes FROM identity_changes_raw WHERE kind IN ('conflict', 'blocked')"


def replay(
    policy: Annotated[str, typer.Option("--policy", metavar="FILE", help="otherwise the one in force")] = "",
    is_applied: Annotated[bool, typer.Option("--apply", help="make it so, through link and unlink")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
    scratch_url: Annotated[str, typer.Option("--scratch", metavar="URL", help="an empty Redis to work in")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before --apply")] = False,
) -> None:
    """Resolve the whole history again under a policy, aside, and report what would be otherwise. Changes nothing.

    With --apply it then parts and joins customers as the report says; the policy must be in force by then.
    """
    with answering():
        settings = load_settings(IdentitySettings)
        file, wanted = policy or settings.policy, load_policy(policy or settings.policy)
        if is_applied and wanted.version != load_policy(settings.policy).version:
            give_up(
                f"--apply: {file} is not in force: put it in place of {settings.policy}, restart identity, try again"
            )
        store = connect(settings, TIMEOUT_S)
        now: Homes = {row[0]: row[1] for row in store.stream_rows(_HOMES)}
        (total,) = store.query_rows(_TOTAL)
        outcome, then = _again(settings, store, wanted, scratch_url, int(total["n"]))
        renewed = chains(store)
        then = with_later_nodes(now, then, renewed)
        found = compare(now, then)
        shown = f"{file} ({wanted.version})"
        report = show.Report(shown, outcome, found, *_refusals(store, outcome), int(total["unordered"]))
        names = names_of(store, report.example_nodes(), settings.identifier_key_bytes())
        told = show.as_json(report, names)
        if not as_json:
            _print(show.lines(told))
        if is_applied and not found.is_nothing():
            if not yes:
                typer.confirm("Part and join them so?", abort=True)
            former = {node for chain in renewed for node in chain[:-1]}
            done = _apply(settings, store, wanted, (now, then, found), former, shown)
            told["applied"] = show.applied(done, names_of(store, _missed(done), settings.identifier_key_bytes()))
            if not as_json:
                _print(show.applied_lines(told["applied"]))
    if as_json:
        print(json.dumps(told, ensure_ascii=False))


def _again(
    settings: IdentitySettings, store: Clickhouse, policy: Policy, scratch_url: str, total: int
) -> tuple[Outcome, dict[str, str]]:
    history = Older(store, connect(settings, TIMEOUT_S), [_ALL] * _PARTITIONS).touchpoints()
    with scratch(scratch_url) as client, _progress() as progress:
        task = progress.add_task("replay", total=total)
        run = Again(
            Ledger(client), policy, settings.identifier_key_bytes(), open_registry(settings.schema_registry_url)
        )
        outcome = run.run(history, lambda count: progress.advance(task, count))
        return outcome, dict(run.homes())


def _refusals(store: Clickhouse, outcome: Outcome) -> tuple[list[Refusal], list[Refusal]]:
    """(those of now that would be none, those that would be new)"""
    rows = store.stream_rows(_REFUSED)
    now = {(kind, reason.partition(":")[0], tuple(nodes)) for kind, reason, nodes in rows}
    return sorted(now - outcome.refused), sorted(outcome.refused - now)


def _apply(
    settings: IdentitySettings, store: Clickhouse, policy: Policy, answers: tuple[Homes, Homes, Difference],
    former: set[str], shown: str,
) -> Applied:  # fmt: skip
    client = sync_client(settings.redis_url)

    def links(customer: str) -> Iterable[tuple[str, str]]:
        raw = client.get(f"{TAG}:c:".encode() + bytes.fromhex(customer.replace("-", "")))
        names = policy.by_code
        for a, b in links_of(raw) if isinstance(raw, bytes) else ():
            yield f"{names[a[0]]}:{a[1:].hex()}", f"{names[b[0]]}:{b[1:].hex()}"

    cut, made = corrections(*answers, links, former)
    nodes = [node for one in (*cut, *made) for node in one.nodes]
    known = identifiers_of(store, nodes, settings.identifier_key_bytes())
    with _progress() as progress:
        task = progress.add_task("apply", total=len(cut) + len(made))
        return apply(
            cut, made, known, former, lambda asked: correct_all(settings, asked), f"policy {shown}",
            f"{time.time_ns()}", lambda count: progress.advance(task, count),
        )  # fmt: skip


def _missed(done: Applied) -> list[str]:
    return [node for all_ in done.missed.values() for nodes in all_[: show.EXAMPLES] for node in nodes]


def _progress() -> Progress:
    columns = TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=complaints)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
