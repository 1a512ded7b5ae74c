"""Backends that the tests of a whole module share, because starting one takes longer than most of these tests."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.local import valkey
from deploy.local.settings import LocalSettings, local_settings
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.testing.waiting import free_port, wait_for
from services.profile.archive.migrate import create_database, load_migrations, migrate
from services.profile.archive.settings import ArchiveSettings
from tests.backends import chosen, running, running_broker


def settings_of(state: Path) -> LocalSettings:
    """Settings of backends on free ports with their state in a folder."""
    return local_settings(
        {
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}",
            "TOUCHSTREAM_LOCAL_STATE_DIR": str(state),
            "TOUCHSTREAM_LOCAL_APPENDFSYNC": "always",
            **chosen(),
        }
    )


@contextmanager
def kafka(settings: LocalSettings, partitions: int) -> Iterator[str]:
    """Bootstrap address of a broker with every topic."""
    with running_broker(settings, partitions):
        yield settings.kafka_bootstrap


@contextmanager
def redis(settings: LocalSettings) -> Iterator[str]:
    """URL of a Valkey with appendfsync always."""
    with running("valkey", valkey.command(settings), settings):
        wait_for(lambda: valkey.is_ready(settings), "Valkey answers")
        yield settings.redis_url


@contextmanager
def clickhouse(settings: LocalSettings) -> Iterator[str]:
    """URL of ClickHouse behind its HTTP front."""
    env = {
        "TOUCHSTREAM_CLICKHOUSE_URL": settings.clickhouse_url,
        "TOUCHSTREAM_LOCAL_STATE_DIR": str(settings.state_dir),
    }

    def answers() -> bool:
        try:
            return httpx.get(f"{settings.clickhouse_url}/ping").status_code == 200
        except httpx.TransportError:
            return False

    with running("clickhouse", [sys.executable, "-m", "deploy.local.clickhouse"], settings, env):
        wait_for(answers, "ClickHouse answers", 90)  # 2 s of CPU, on a machine that may have much to do
        yield settings.clickhouse_url


def empty_database(url: str, name: str) -> Clickhouse:
    """A connection to a new database without tables."""
    settings = ArchiveSettings(clickhouse_url=url, clickhouse_database=name)
    first = connect(settings.model_copy(update={"clickhouse_database": "default"}))
    create_database(first, name)
    first.close()
    return connect(settings)


@contextmanager
def database(url: str, name: str) -> Iterator[Clickhouse]:
    """A connection to a database with the shipped tables; dropped afterwards."""
    server = empty_database(url, name)
    migrate(server, load_migrations(ArchiveSettings().migrations))
    try:
        yield server
    finally:
        server.command(f"DROP DATABASE {name}")
        server.close()


def truncate(server: Clickhouse) -> None:
    """Empty every table of the database but the migrations. Tokens are forgotten too."""
    rows = server.query_rows(
        "SELECT name FROM system.tables WHERE database = {d:String} AND engine LIKE '%MergeTree'",
        {"d": server.database},
    )
    for row in rows:
        if row["name"] != "schema_migrations":
            server.command(f"TRUNCATE TABLE {row['name']}")
