"""The stages of a rebuild on their way: one after the other, or side by side in processes, one for each core.

Side by side when all that was ever written is still in Kafka: then no stage needs what another one found. What
retention has taken passes from identity over profile to rules.
"""

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.rebuild.checks import Log
from cli.rebuild.stages import LONGEST_FIRST, STAGES, Stage, Stages, open_target
from services.chassis.errors import Retriable
from services.chassis.logs import configure_logs

LOOK_EVERY_S = 0.5
COLUMNS = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


@dataclass(frozen=True, slots=True)
class Done:
    """A stage that has ended, and what it did."""

    name: str
    records: int
    seconds: float
    cpu_s: float
    found: object


def run(log: Log, console: Console) -> tuple[list[Done], float]:
    """All stages in order, and the seconds they took together. Raises what the first failing one raised."""
    started = time.monotonic()
    _spare_the_collector()
    with Progress(*COLUMNS, TextColumn("{task.fields[rate]}"), console=console) as progress:
        is_whole = not any(log.firsts.values())
        done = (_side_by_side if is_whole else _in_order)(log, progress)
    return done, time.monotonic() - started


def _spare_the_collector() -> None:
    """As services do (chassis.run): nearly all objects of a replay are freed by reference counting."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _in_order(log: Log, progress: Progress) -> list[Done]:
    done = []
    with open_target(log) as target:
        stages = Stages(target)
        for stage in STAGES:
            task = _add(progress, stage, log)

            def advance(count: int, task: TaskID = task) -> None:
                _show(progress, task, int(progress.tasks[task].completed) + count)

            done.append(_one(stages, stage, advance))
    return done


def _add(progress: Progress, stage: Stage, log: Log) -> TaskID:
    return progress.add_task(stage.name, total=log.records(*stage.topics) or None, rate="", start=False)


def _show(progress: Progress, task: TaskID, completed: int) -> None:
    of = progress.tasks[task]
    if completed and not of.started:
        progress.start_task(task)
    progress.update(task, completed=completed, rate=f"{completed / max(0.001, of.elapsed or 0.0):,.0f}/s")


def _one(stages: Stages, stage: Stage, advance: Callable[[int], object]) -> Done:
    started, cpu = time.monotonic(), time.process_time()
    found = stages.run(stage, advance)
    seconds, cpu_s = time.monotonic() - started, time.process_time() - cpu
    return Done(stage.name, stages.target.log.records(*stage.topics), seconds, cpu_s, found)


class _Stopped(Retriable):
    """Another stage has failed."""


class _Worker:
    """What a process knows. `counts`: records worked by stage, and last whether all are to stop."""

    log: Log
    counts: Any


def _open(log: Log, counts: Any) -> None:
    _spare_the_collector()
    configure_logs("rebuild", "error")  # what was warned of then need not be said again
    _Worker.log, _Worker.counts = log, counts
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()


def _leave_with(parent: int) -> None:
    """A command that was killed must not leave anybody behind who writes into this Redis."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os._exit(1)


def _work(index: int) -> Done:
    def advance(count: int) -> None:
        if _Worker.counts[-1]:
            raise _Stopped("the rebuild was ended")
        _Worker.counts[index] += count

    with open_target(_Worker.log) as target:
        return _one(Stages(target), STAGES[index], advance)


def _side_by_side(log: Log, progress: Progress) -> list[Done]:
    context = get_context("spawn")  # the Kafka client's threads do not survive a fork
    counts = context.Array("q", len(STAGES) + 1)
    tasks = [_add(progress, stage, log) for stage in STAGES]
    with ProcessPoolExecutor(min(len(STAGES), os.cpu_count() or 1), context, _open, (log, counts)) as pool:
        futures = {name: pool.submit(_work, [stage.name for stage in STAGES].index(name)) for name in LONGEST_FIRST}
        try:
            waiting = set(futures.values())
            while waiting:
                ended, waiting = wait(waiting, LOOK_EVERY_S, FIRST_EXCEPTION)
                for task, count in zip(tasks, counts[:], strict=False):
                    _show(progress, task, count)
                for future in ended:
                    future.result()
        finally:
            counts[-1] = 1
            pool.shutdown(cancel_futures=True)
    return [futures[stage.name].result() for stage in STAGES]
