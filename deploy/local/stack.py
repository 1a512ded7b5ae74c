"""The local stack put together: the process table under a supervisor, with topics, tables and ledgers made ready.

`python -m deploy.local.stack` runs it without a display, as `touchstream up --detach` does.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.local.broker import is_lasting
from deploy.local.child import spawn
from deploy.local.exclusive import Say, StackError, StateLock
from deploy.local.idle import Look
from deploy.local.processes import local_stack
from deploy.local.settings import LocalSettings, child_environment, local_settings
from deploy.local.supervisor import Supervisor
from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.offsets import end_offsets, first_offsets, log_identity
from services.chassis.logs import configure_logs, get_logger
from services.chassis.redis.client import sync_client
from services.chassis.redis.inspect import foreign, ledgers
from services.chassis.redis.rebase import rebase
from services.chassis.run import Stop, run
from services.chassis.topics import create_topics, load_topics
from services.notify.adapters.renumber import renumber

TICK_S = 0.2
# Marks in the state folder: the last run worked off every event; the run before this one had.
DRAINED, WAS_DRAINED = "drained", "was-drained"
GONE = (
    "the last run was not drained: events in the in-memory broker that were not yet processed are gone, how many is"
    " unknown"
)
MIGRATE_TIMEOUT_S = 120.0


def open_stack(settings: LocalSettings, say: Say, environ: Mapping[str, str] | None = None) -> Supervisor:
    """A supervisor over the whole table; nothing is started yet. Raises SettingsError."""
    env = os.environ if environ is None else environ
    told = child_environment(settings, env)
    specs = local_stack(settings, env)
    # Without ingest: by the time this is asked, it has ended.
    urls = {spec.name: spec.metrics_url for spec in specs if spec.metrics_url and spec.name != "ingest"}
    look = Look(settings, urls, with_queue=False)
    return Supervisor(
        settings,
        specs,
        told,
        say,
        prepare=lambda: prepare(settings, told, say),
        pending=look,
    )


def run_stack(supervisor: Supervisor, stop: Stop) -> None:
    """Start, keep running until `stop` is set, drain and end everything. Raises StackError; leaves nothing running."""
    settings, ready = supervisor.settings, supervisor.settings.state_dir / "ready"
    supervisor.is_interrupted = stop.is_set
    try:
        try:
            supervisor.start()
        except Fatal:
            if supervisor.owns_state:
                _mark_again(settings)
            raise
        (settings.state_dir / WAS_DRAINED).unlink(missing_ok=True)
        ready.write_text(str(os.getpid()), encoding="ascii")
        while not stop.is_set():
            supervisor.tick()
            stop.wait(TICK_S)
        supervisor.say("stopping: nothing new is taken in, what is on its way is finished first")
        if supervisor.stop():
            (settings.state_dir / DRAINED).touch()
            supervisor.say("stopped; every event was worked off")
        else:
            supervisor.say("stopped, but not drained")
    finally:
        if supervisor.owns_state:
            ready.unlink(missing_ok=True)
        supervisor.close()


def prepare(settings: LocalSettings, environ: Mapping[str, str], say: Say) -> None:
    """Between backends and services: topics, tables, and ledgers that point into the new, empty topics.

    Tansu's topics are new with every start while Valkey and ClickHouse keep theirs, so every ledger's position is
    set to the beginning of a new log generation. After a drained stop nothing is lost by that; after any other stop the
    events that were still in the topics are gone, and that is said. Raises StackError when ledgers hold work that began
    in those topics and can never be finished. Where the topics are still those the ledgers know, nothing is moved.
    """
    drained = settings.state_dir / DRAINED
    try:
        setup(settings, environ)
        has_moved = _rebase(settings, drained.exists())
    except Retriable as error:
        raise StackError(f"a backend that was ready does not answer: {error}") from error
    if drained.exists():
        drained.rename(drained.with_name(WAS_DRAINED))  # until everything is ready
    elif has_moved:
        say(f"{GONE}; going on from what was processed")


def _rebase(settings: LocalSettings, is_drained: bool) -> bool:
    """Point the ledgers at the new topics; False when there are none yet, or they stand on these topics already."""
    redis = sync_client(settings.redis_url)
    bootstrap, topics = settings.kafka_bootstrap, load_topics()
    try:
        identity = log_identity(bootstrap, topics)
        elsewhere = {(slot.service, slot.partition, topic) for slot, topic in foreign(redis, *identity)}
        if not elsewhere:
            if is_lasting(settings):  # notify may have seen the former topics before anybody claimed one
                renumber(redis, settings.partitions)
            return False
        moving = [one for one in ledgers(redis) if (one.service, one.partition, one.topic) in elsewhere]
        if not is_drained and any(ledger.position for ledger in moving):
            # The graph has numbered records that profile never saw: those customers would wait for ever.
            raise Fatal("customers' logs would have holes")
        rebase(redis, *identity, first_offsets(bootstrap, topics))
        renumber(redis, settings.partitions)
    except Fatal as error:
        what = "" if is_drained else f"{GONE}, and what was half processed cannot go on without them: "
        raise StackError(
            f"{what}{error}. To start with empty state, `touchstream up --fresh` sets the former Valkey and ClickHouse"
            " data aside"
        ) from error
    finally:
        redis.close()
    return True


def _mark_again(settings: LocalSettings) -> None:
    """A start that failed before anything reached the topics leaves the state as drained as it was before."""
    was = settings.state_dir / WAS_DRAINED
    if not was.exists():
        return
    try:
        is_untouched = not any(end_offsets(settings.kafka_bootstrap, load_topics()).values())
    except Retriable:  # the broker did not even start: nothing can have reached it
        is_untouched = True
    if is_untouched:
        was.rename(was.with_name(DRAINED))


def set_aside(settings: LocalSettings) -> Path | None:
    """Move the data of the backends to <state>/aside/<time>, so that the next start is a first one.

    Returns the folder, or None when there were no data. Raises StackError while a stack runs.
    """
    lock = StateLock(settings)
    try:
        there = [settings.state_dir / name for name in ("kafka", "valkey", "clickhouse", DRAINED, WAS_DRAINED)]
        there = [path for path in there if path.exists()]
        if not there:
            return None
        aside = settings.state_dir / "aside" / time.strftime("%Y%m%dT%H%M%S")
        aside.mkdir(parents=True)
        for path in there:
            path.rename(aside / path.name)
        return aside
    finally:
        lock.release()


def setup(settings: LocalSettings, environ: Mapping[str, str]) -> list[str]:
    """Create the topics and bring ClickHouse's tables up to date; the topics created. Raises Fatal or Retriable."""
    topics = load_topics().values()
    created = create_topics(settings.kafka_bootstrap, topics, settings.partitions, settings.replicas)
    command = [sys.executable, "-m", "services.profile.archive.migrate"]
    child = spawn("migrate", command, environ, settings.logs_dir, settings.run_dir)
    if not child.wait(MIGRATE_TIMEOUT_S) or child.process.returncode != 0:
        raise StackError(f"creating ClickHouse's tables failed; {child.log} ends:\n{child.last_words()}")
    return created


def _main(stop: Stop) -> None:
    settings = local_settings()
    configure_logs("stack", settings.log_level)
    logger = get_logger()
    run_stack(open_stack(settings, lambda text: logger.info("stack.said", text=text)), stop)


if __name__ == "__main__":
    sys.exit(run(_main))
