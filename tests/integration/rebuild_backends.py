"""Backends of a test module's own for the lab of `touchstream rebuild`, and what all of its chapters check."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.rebuild.command import rebuild
from deploy.local.processes import backends
from deploy.local.settings import ROOT, LocalSettings, local_settings
from services.chassis.settings import env_name
from services.chassis.testing.waiting import free_port, wait_for
from services.chassis.topics import create_topics, load_topics
from services.profile.archive.migrate import load_migrations, migrate
from tests.backends import chosen
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences

# Names of destinations whose queue is empty, and sends of the last minute that limit the next ones.
LEFT_OUT = ("{notify}:queues", "{notify}:rate:")
PARTITIONS = 4


@contextmanager
def deployed(state_dir: Path) -> Iterator[Lab]:
    """A lab on new backends; the settings are in the environment, as an operator has them."""
    own = {
        "TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}",
        "TOUCHSTREAM_LOCAL_STATE_DIR": str(state_dir),
        "TOUCHSTREAM_PARTITIONS": str(PARTITIONS),
        **chosen(),
        "TOUCHSTREAM_LOCAL_APPENDFSYNC": "always",
    }
    settings = local_settings(own)
    started = _start(settings)
    shared = {name: value for name, value in own.items() if "LOCAL" not in name}
    # Tansu does not say how long it keeps records.
    is_relaxed = settings.broker == "tansu"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**shared, env_name(LocalSettings, "relaxed_durability"): str(is_relaxed)}.items():
            patch.setenv(name, value)
        lab = Lab(settings.model_copy(update={"relaxed_durability": is_relaxed}))
        yield lab
        lab.stop()
    for process in started:
        process.kill()
        process.wait()


def _start(settings: LocalSettings) -> "list[subprocess.Popen[bytes]]":
    settings.logs_dir.mkdir(parents=True)
    started = []
    for spec in backends(settings):
        spec.before()
        env = {**os.environ, **spec.environ, "TOUCHSTREAM_LOCAL_STATE_DIR": str(settings.state_dir)}
        env |= {
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "TOUCHSTREAM_REDIS_URL": settings.redis_url,
            "TOUCHSTREAM_CLICKHOUSE_URL": settings.clickhouse_url,
        }  # fmt: skip
        with (settings.logs_dir / f"{spec.name}.log").open("wb") as out:
            started.append(subprocess.Popen(spec.command, env=env, cwd=ROOT, stdout=out, stderr=out))
    for spec in backends(settings):
        wait_for(spec.is_ready, f"{spec.name} answers", 180, 0.2)
    create_topics(settings.kafka_bootstrap, load_topics().values(), settings.partitions)
    lab = Lab(settings.model_copy(update={"clickhouse_database": "default"}))
    lab.clickhouse.command(f"CREATE DATABASE IF NOT EXISTS {settings.clickhouse_database}")
    migrate(Lab(settings).clickhouse, load_migrations(ROOT / "deploy" / "clickhouse"))
    return started


def check_rebuilt(lab: Lab) -> None:
    """Lose Redis, rebuild it, and find everything as it was."""
    before = lab.dump()
    lab.lose()
    rebuild(fresh=False)
    assert differences(before, lab.dump(), LEFT_OUT) == []
    assert len(before) > 300


def check_nothing_twice(lab: Lab) -> None:
    """Every place is in ClickHouse once, every trigger id once, every delivery ended once."""
    (row,) = lab.clickhouse.query_rows(
        "SELECT (SELECT sum(copies) FROM duplicates_daily) AS copies,"
        " (SELECT count() - uniqExact(trigger_id) FROM triggers_raw) AS triggers,"
        " (SELECT count() - uniqExact(delivery_id) FROM deliveries_raw) AS deliveries,"
        " (SELECT count() FROM events_raw) AS events"
    )
    assert (row["copies"], row["triggers"], row["deliveries"]) == (0, 0, 0)
    assert row["events"] > 300
