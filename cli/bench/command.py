"""`touchstream bench`: throughput, latency and cost of each stage on the local stack, reconciled on the same run."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console

from cli.bench.load import Sent, send
from cli.bench.report import Cost, cost_table, costs, lag_table, steadiness
from cli.bench.verdicts import count_triggers, latencies_ms, reconcile
from cli.bench.watch import Sample, Watch, usage
from cli.bench.workload import BATCH, Workload
from cli.stack import or_exit
from deploy.local.control import holder, start_detached, take_down
from deploy.local.exclusive import StackError
from deploy.local.idle import Look, wait_idle
from deploy.local.processes import ingest_port, metrics_urls
from deploy.local.settings import ROOT, LocalSettings, child_environment, local_settings
from services.chassis.clickhouse import connect
from services.chassis.ids import node_of

STAGES = ("ingest", "identity", "profile", "rules", "notify", "archive")
FLOOR_EVENTS = 50_000
# A floor takes about 10 s; a load that is refused gives up before this.
FLOOR_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 300.0
SMALL_BATCH = 10
# Of the latency run: the share of events that fire is that of the throughput run (2.5 %, each with two deliveries);
# the others come from this many customers.
ORDERS_EVERY = 40
BROWSERS = 5_000
# The actions of deploy/config/rules/first-order.yaml.
DELIVERIES_PER_ORDER = 2
# The local stack computes thresholds every 10 s and then looks at every customer again; the bench measures what a
# deployment does.
THRESHOLDS = "TOUCHSTREAM_PROFILE_THRESHOLDS_INTERVAL_S"
PRODUCTION_INTERVAL_S = "300"
console = Console()


def bench(
    seconds: Annotated[int, typer.Option(min=1, help="length of the throughput run")] = 60,
    rate: Annotated[int, typer.Option(min=BATCH, help="events per second offered in it")] = 10_000,
    latency_rate: Annotated[int, typer.Option(min=SMALL_BATCH, help="events per second of the latency run")] = 1_000,
    latency_seconds: Annotated[int, typer.Option(min=1, help="length of the latency run")] = 30,
    floors: Annotated[bool, typer.Option(help="also measure the bare floor of every stage")] = True,
) -> None:
    """Measure a fresh local stack: sustained throughput, open-loop latency, CPU per stage. Exit 1 when books differ."""
    problems = or_exit(lambda: _measure(seconds, rate, latency_rate, latency_seconds, floors))
    if problems:
        console.print(f"[red]the books differ: {'; '.join(problems)}")
        raise typer.Exit(1)
    console.print(
        "[green]reconciled: every accepted event is in ClickHouse once; customers, merges and triggers are those of"
        " the books; every delivery was delivered, or rightly not sent for want of an address"
    )


def _measure(seconds: int, rate: int, latency_rate: int, latency_seconds: int, floors: bool) -> list[str]:
    """What differs from the books. Raises SettingsError, Fatal (a StackError too) and Retriable."""
    settings = local_settings().model_copy(update={"state_dir": ROOT / ".state" / "bench"})
    if holder(settings) is not None:
        raise StackError("a bench already runs; end it with its own Ctrl-C")
    shutil.rmtree(settings.state_dir, ignore_errors=True)  # every bench measures the same empty stack
    environ = child_environment(settings, {THRESHOLDS: PRODUCTION_INTERVAL_S, **os.environ})
    environ["TOUCHSTREAM_LOCAL_STATE_DIR"] = str(settings.state_dir)
    console.print("starting the local stack …")
    start_detached(settings, environ)
    try:
        _warm_up(settings)
        problems = _latency(settings, latency_rate, latency_seconds)
        differ, found, per_event = _throughput(settings, seconds, rate)
        console.print(cost_table(found, _floors(environ, per_event) if floors else {}))
        return problems + differ
    finally:
        take_down(settings, console.print)


def _url() -> str:
    port = ingest_port(os.environ)
    return f"http://{port.host}:{port.number}"


def _drain(settings: LocalSettings) -> None:
    left = wait_idle(Look(settings, metrics_urls(os.environ)), DRAIN_TIMEOUT_S)
    if left:
        raise StackError("the stack does not come to rest: " + "; ".join(left))


def _warm_up(settings: LocalSettings) -> None:
    """Imports, caches, first inserts."""
    workload = Workload(1, f"w{int(time.time())}")
    send(_url(), "local", list(islice(workload.batches(), 50)), BATCH / 2_000)
    _drain(settings)


def _throughput(settings: LocalSettings, seconds: int, rate: int) -> tuple[list[str], list[Cost], float]:
    """What differs from the books, what every process cost, triggers for one event sent."""
    run = f"t{int(time.time())}"
    workload = Workload(42, run)
    bodies = list(islice(workload.batches(), seconds * rate // BATCH))
    events = len(bodies) * BATCH
    console.print(f"throughput: {events:,} events at {rate:,}/s …")
    before, watch = usage(settings), Watch(settings)
    try:
        sent = send(_url(), "local", bodies, BATCH / rate)
        _drain(settings)
        ended_s = time.time()
    finally:
        samples = watch.close()
    found = costs(before, usage(settings), events)
    _report_throughput(sent, samples, events, ended_s, rate)
    books, key = workload.books, settings.identifier_key_bytes()
    console.print(f"books: {books.events:,} sent, {books.duplicates:,} repeated, {books.garbage:,} garbage")
    house = connect(settings)
    verdicts = reconcile(house, run, books, lambda name: node_of(name, key))
    for verdict in verdicts:
        console.print(f"  {verdict.found}")
    return [problem for one in verdicts for problem in one.problems], found, count_triggers(house, run) / events


def _report_throughput(sent: Sent, samples: list[Sample], events: int, ended_s: float, rate: int) -> None:
    sending_s, whole_s = sent.ended_s - sent.started_s, ended_s - sent.started_s
    console.print(
        f"accepted {events / sending_s:,.0f} events/s over {sending_s:.1f} s; through to ClickHouse and delivered"
        f" {events / whole_s:,.0f} events/s over {whole_s:.1f} s; latest request {sent.late_s * 1000:.0f} ms behind;"
        f" answers {dict(sent.statuses)}"
    )
    console.print(lag_table(samples, sent.started_s))
    for line in steadiness(samples, sent, rate):
        console.print(line)


def _latency(settings: LocalSettings, rate: int, seconds: int) -> list[str]:
    """Batches of ten leave every 10/rate s; each event's time is when it was due, one in ORDERS_EVERY fires a rule."""
    run = f"l{int(time.time())}"
    start_s = time.time() + 1.0 + rate * seconds / 100_000  # making the bodies takes 5 µs an event
    bodies = [
        json.dumps(
            {"batch": [_due_event(run, i, start_s + i / rate) for i in range(first, first + SMALL_BATCH)]}
        ).encode()
        for first in range(0, rate * seconds, SMALL_BATCH)
    ]
    console.print(f"latency: open loop, {rate:,} events/s for {seconds} s …")
    sent = send(_url(), "local", bodies, SMALL_BATCH / rate, start_s=start_s)
    _drain(settings)
    q = latencies_ms(connect(settings), run)
    console.print(
        f"due time → delivered trigger over {q['deliveries']:,.0f} deliveries: p50 {q['p50']:.0f} ms,"
        f" p95 {q['p95']:.0f} ms, p99 {q['p99']:.0f} ms, max {q['max']:.0f} ms; latest request"
        f" {sent.late_s * 1000:.0f} ms behind"
    )
    wanted = expected_deliveries(len(bodies) * SMALL_BATCH)
    return [] if q["deliveries"] == wanted else [f"{q['deliveries']:.0f} deliveries of the latency run, not {wanted}"]


def expected_deliveries(events: int) -> int:
    """Of a latency run: every order is its customer's first, and its customer has an address."""
    return len(range(0, events, ORDERS_EVERY)) * DELIVERIES_PER_ORDER


def _due_event(run: str, i: int, due_s: float) -> dict[str, object]:
    is_order = i % ORDERS_EVERY == 0
    user = f"{run}-{i}" if is_order else f"{run}-{i % BROWSERS}"
    return {
        "type": "track",
        "event": "Order Completed" if is_order else "Product Viewed",
        "userId": user,
        "messageId": f"{run}-{i}",
        "timestamp": datetime.fromtimestamp(due_s, UTC).isoformat(timespec="milliseconds"),
        "properties": {"order_id": f"{run}-{i}", "total": 25, "currency": "CNY"} if is_order else {"sku": f"s{i % 99}"},
        "context": {"traits": {"email": f"{user}@example.com"}},
    }


def _floors(environ: dict[str, str], triggers_per_event: float) -> dict[str, str]:
    """Stage → CPU µs per event sent of the same hops without logic, or why that is not known."""
    found = {}
    for stage in STAGES:
        said = _floor(stage, environ)
        if stage == "notify" and not said.startswith("failed"):
            # What Faust costs a trigger, spread over the events as the stage's own cost is.
            said = f"{float(said) * triggers_per_event:.1f} ({said} a trigger)"
        found[stage] = said
    return found


def _floor(stage: str, environ: dict[str, str]) -> str:
    command = [sys.executable, "-m", "cli.bench.floor", stage, str(FLOOR_EVENTS)]
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, cwd=ROOT, check=False, timeout=FLOOR_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"failed: not done after {FLOOR_TIMEOUT_S:g} s"
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}, without a word"]
        return f"failed: {said[-1]}"
    return str(json.loads(done.stdout.splitlines()[-1])["cpu_us"])
