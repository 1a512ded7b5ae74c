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
from rich.table import Table

from cli.bench.load import Sent, send
from cli.bench.verdicts import latencies_ms, reconcile
from cli.bench.watch import Sample, Usage, Watch, usage
from cli.bench.workload import BATCH, Workload
from deploy.local.control import holder, start_detached, take_down
from deploy.local.idle import Look, wait_idle
from deploy.local.processes import ingest_port, metrics_urls
from deploy.local.settings import ROOT, LocalSettings, child_environment, local_settings
from services.chassis.clickhouse import connect

STAGES = ("ingest", "identity", "profile", "rules", "archive")
FLOOR_EVENTS = 50_000
# A floor takes about 10 s; a load that is refused gives up before this.
FLOOR_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 300.0
SMALL_BATCH = 10
# Of the latency run: the share of events that fire is that of the throughput run (2.5 %, each with two deliveries);
# the others come from this many customers.
ORDERS_EVERY = 40
BROWSERS = 5_000
# The local stack computes thresholds every 10 s and then looks at every customer again; the bench measures what a
# deployment does.
THRESHOLDS = "TOUCHSTREAM_PROFILE_THRESHOLDS_INTERVAL_S"
PRODUCTION_INTERVAL_S = "300"
console = Console()


def bench(
    seconds: Annotated[int, typer.Option(help="length of the throughput run")] = 60,
    rate: Annotated[int, typer.Option(help="events per second offered in it")] = 10_000,
    latency_rate: Annotated[int, typer.Option(help="events per second of the latency run")] = 1_000,
    latency_seconds: Annotated[int, typer.Option(help="length of the latency run")] = 30,
    floors: Annotated[bool, typer.Option(help="also measure the bare floor of every stage")] = True,
) -> None:
    """Measure a fresh local stack: sustained throughput, open-loop latency, CPU per stage. Exit 1 when books differ."""
    settings = local_settings().model_copy(update={"state_dir": ROOT / ".state" / "bench"})
    if holder(settings) is not None:
        raise typer.BadParameter("a bench already runs; end it with its own Ctrl-C")
    shutil.rmtree(settings.state_dir, ignore_errors=True)  # every bench measures the same empty stack
    environ = child_environment(settings, {THRESHOLDS: PRODUCTION_INTERVAL_S, **os.environ})
    environ["TOUCHSTREAM_LOCAL_STATE_DIR"] = str(settings.state_dir)
    console.print("starting the local stack …")
    start_detached(settings, environ)
    try:
        _warm_up(settings)
        problems = _latency(settings, latency_rate, latency_seconds)
        problems += _throughput(settings, seconds, rate)
        if floors:
            _floors(environ)
    finally:
        take_down(settings, console.print)
    if problems:
        console.print(f"[red]the books differ: {'; '.join(problems)}")
        raise typer.Exit(1)
    console.print("[green]reconciled: every accepted event is in ClickHouse once, every trigger delivered")


def _url() -> str:
    port = ingest_port(os.environ)
    return f"http://{port.host}:{port.number}"


def _drain(settings: LocalSettings) -> None:
    left = wait_idle(Look(settings, metrics_urls(os.environ)), DRAIN_TIMEOUT_S)
    if left:
        raise typer.BadParameter("the stack does not come to rest: " + "; ".join(left))


def _warm_up(settings: LocalSettings) -> None:
    """Imports, caches, first inserts."""
    workload = Workload(1, f"w{int(time.time())}")
    send(_url(), "local", list(islice(workload.batches(), 50)), BATCH / 2_000)
    _drain(settings)


def _throughput(settings: LocalSettings, seconds: int, rate: int) -> list[str]:
    run = f"t{int(time.time())}"
    workload = Workload(42, run)
    bodies = list(islice(workload.batches(), seconds * rate // BATCH))
    console.print(f"throughput: {len(bodies) * BATCH:,} events at {rate:,}/s …")
    before, watch = usage(settings), Watch(settings)
    sent = send(_url(), "local", bodies, BATCH / rate)
    _drain(settings)
    ended_s = time.time()
    samples = watch.close()
    _report_throughput(sent, samples, len(bodies) * BATCH, ended_s)
    _report_cpu(before, usage(settings), len(bodies) * BATCH)
    found = reconcile(connect(settings), run, workload.books)
    books = workload.books
    console.print(
        f"books: {books.events:,} sent, {books.duplicates:,} repeated, {books.garbage:,} garbage,"
        f" {len(books.ids):,} accepted · ClickHouse: {found.events:,}"
    )
    return list(found.problems)


def _report_throughput(sent: Sent, samples: list[Sample], events: int, ended_s: float) -> None:
    sending_s, whole_s = sent.ended_s - sent.started_s, ended_s - sent.started_s
    console.print(
        f"accepted {events / sending_s:,.0f} events/s over {sending_s:.1f} s; through to ClickHouse and delivered"
        f" {events / whole_s:,.0f} events/s over {whole_s:.1f} s; latest request {sent.late_s * 1000:.0f} ms behind;"
        f" answers {dict(sent.statuses)}"
    )
    table = Table("second", "lag identity", "profile", "rules", "archive", "memory MiB")
    for sample in samples[:: max(1, len(samples) // 12)]:
        lags = [f"{sample.lag.get(name, 0):,}" for name in ("identity", "profile", "rules", "archive")]
        memory = sum(sample.rss_bytes.values()) // 1_048_576
        table.add_row(f"{sample.at_s - sent.started_s:.0f}", *lags, f"{memory:,}")
    console.print(table)


def _report_cpu(before: dict[str, Usage], after: dict[str, Usage], events: int) -> None:
    table = Table("process", "CPU µs per event sent", "memory MiB")
    total = 0.0
    for name, used in after.items():
        if name not in before:
            continue
        cost = (used.cpu_s - before[name].cpu_s) / events * 1e6
        total += cost
        table.add_row(name, f"{cost:.1f}", f"{used.rss_bytes / 1_048_576:.0f}")
    table.add_row("all", f"{total:.1f}", "")
    console.print(table)


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
    return [] if q["deliveries"] else ["the latency run fired nothing"]


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


def _floors(environ: dict[str, str]) -> None:
    table = Table("stage", "bare floor: CPU µs per event, same hops, no logic")
    for stage in STAGES:
        table.add_row(stage, _floor(stage, environ))
    console.print(table)


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
