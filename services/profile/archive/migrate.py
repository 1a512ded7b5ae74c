"""`python -m services.profile.archive.migrate`: bring ClickHouse's tables up to date; doing it again changes nothing.

Files NNNN_name.sql run in order of their number, each once; the number, name and checksum of what ran stand in
schema_migrations. Statements end with a semicolon at the end of a line. ClickHouse has no transaction around DDL, so a
file that failed half-way runs again from its start: its statements must be repeatable (IF NOT EXISTS, OR REPLACE).
"""

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.chassis import failpoints
from services.chassis.clickhouse import Row, connect
from services.chassis.errors import Fatal, Retriable
from services.chassis.logs import configure_logs, get_logger
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.profile.archive.settings import ArchiveSettings

# A server that is just starting may need this long until it answers.
WAIT_FOR_SERVER_S = 60.0
_NAME = re.compile(r"(\d{4})_\w+\.sql\Z")
_VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32 COMMENT 'number of the file in deploy/clickhouse',
    name String COMMENT 'its name',
    checksum String COMMENT 'first 16 hex characters of its SHA-256',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version
"""


class Server(Protocol):
    """The part of services.chassis.clickhouse.Clickhouse that is needed here."""

    database: str

    def command(self, sql: str, params: dict[str, object] | None = None) -> None: ...
    def query_rows(self, sql: str, params: dict[str, object] | None = None) -> list[Row]: ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, name, checksum and statements."""

    version: int
    name: str
    checksum: str
    statements: tuple[str, ...]


def load_migrations(folder: Path) -> list[Migration]:
    """The files of a folder in order. Raises Fatal when a number is missing or stands there twice."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if match is None:
            raise Fatal(f"{path}: expected a name like 0007_what_it_does.sql")
        text = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(text.encode()).hexdigest()[:16]
        migrations.append(Migration(int(match.group(1)), path.name, checksum, _statements(text)))
    numbers = [migration.version for migration in migrations]
    if not migrations or numbers != list(range(1, len(numbers) + 1)):
        raise Fatal(f"{folder}: expected files numbered from 0001 without holes, found {numbers}")
    return migrations


def _statements(text: str) -> tuple[str, ...]:
    parts = (part.strip() for part in re.split(r";[ \t]*$", text, flags=re.MULTILINE))
    return tuple(part for part in parts if part and not all(line.startswith("--") for line in part.splitlines()))


def migrate(server: Server, migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing; names of the applied files. Raises Fatal when an applied file was edited or is gone.

    A database ahead of the files (a newer release migrated it) is left alone.
    """
    server.command(_VERSIONS)
    rows = server.query_rows("SELECT version, name, checksum FROM schema_migrations FINAL ORDER BY version")
    applied = {int(row["version"]): row for row in rows}
    for migration in migrations:
        row = applied.get(migration.version)
        if row is not None and row["checksum"] != migration.checksum:
            raise Fatal(
                f"{migration.name} was applied to {server.database} as {row['name']} with checksum {row['checksum']}"
                f" and now has {migration.checksum}. An applied file is never edited: restore it and write the change"
                " as a new one."
            )
    done = []
    for migration in migrations:
        if migration.version in applied:
            continue
        for statement in migration.statements:
            server.command(statement)
        server.command(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES"
            f" ({migration.version}, '{migration.name}', '{migration.checksum}')"
        )
        done.append(migration.name)
    return done


def create_database(server: Server, name: str) -> None:
    """Create the database if it is missing; `server` must be connected to another one. Raises Fatal on a bad name."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise Fatal(f"TOUCHSTREAM_CLICKHOUSE_DATABASE={name!r}: expected letters, digits and underscores")
    server.command(f"CREATE DATABASE IF NOT EXISTS {name}")


def main(stop: Stop) -> None:
    """Wait for the server, create the database, apply the files."""
    settings = load_settings(ArchiveSettings)
    configure_logs("archive", settings.log_level)
    failpoints.configure(settings.failpoints, "archive")
    migrations = load_migrations(settings.migrations)
    first = connect(settings.model_copy(update={"clickhouse_database": "default"}))
    deadline = time.monotonic() + WAIT_FOR_SERVER_S
    while True:
        try:
            create_database(first, settings.clickhouse_database)
            break
        except Retriable as error:
            if time.monotonic() > deadline or stop.wait(0.5):
                raise Fatal(f"no answer for {WAIT_FOR_SERVER_S:.0f} s: {error}") from error
    first.close()
    server = connect(settings)
    done = migrate(server, migrations)
    server.close()
    get_logger().info(
        "clickhouse.migrated", database=settings.clickhouse_database, applied=done, version=migrations[-1].version
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
