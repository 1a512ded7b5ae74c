"""ClickHouse over HTTP: whole columns in with a deduplication token, rows as dicts out, errors of the chassis.

Nothing connects before the first call: a service starts, and says so in its health, while ClickHouse is down.
Not safe for several threads at once; open one per thread.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.exceptions import ClickHouseError, ProgrammingError
from clickhouse_connect.driver.exceptions import Error as DriverError
from clickhouse_connect.driver.insert import InsertBlock, InsertContext
from clickhouse_connect.driver.transform import NativeTransform
from pydantic import SecretStr
from urllib3.exceptions import HTTPError

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp

Row = dict[str, Any]

# What time does not heal: the statement, the schema or the rights are wrong (names as in ClickHouse's ErrorCodes.cpp).
FATAL_CODES = {
    16: "NO_SUCH_COLUMN_IN_TABLE",
    20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
    36: "BAD_ARGUMENTS",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    46: "UNKNOWN_FUNCTION",
    47: "UNKNOWN_IDENTIFIER",
    53: "TYPE_MISMATCH",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    192: "UNKNOWN_USER",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
# Lower: a server busy with merges looks dead. Higher: an insert that hangs outlasts the consumer group's session (45 s)
# and costs its partitions (safe, the token holds, but everybody claims again).
REQUEST_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 3


class ClickhouseSettings(Protocol):
    """The part of SharedSettings that connect() reads."""

    @property
    def clickhouse_url(self) -> str: ...
    @property
    def clickhouse_user(self) -> str: ...
    @property
    def clickhouse_password(self) -> SecretStr: ...
    @property
    def clickhouse_database(self) -> str: ...


class ColumnInsert(InsertContext):
    """What an insert is serialised from: whole columns, as one Native block whatever their size.

    Two blocks could be cut, ordered or written differently when the same insert is repeated, and a token then hides
    rows that were never written. The caller bounds rows and bytes. The driver's own way to take data would import
    pandas where it happens to be installed (chdb brings it): 2 s of CPU and 85 MiB for data frames nobody here has.
    """

    columns: Sequence[Sequence[object]] = ()

    def next_block(self) -> Generator[InsertBlock, None, None]:
        """See InsertContext."""
        names, columns = self.column_names, self.columns
        if len(columns) != len(names):
            raise ProgrammingError(f"{len(columns)} columns of data for {len(names)} of {self.table}")
        head = f"INSERT INTO {self.table} ({', '.join(map(quote_identifier, names))}) FORMAT Native\n"
        yield InsertBlock(head.encode(), len(names), len(columns[0]), names, self.column_types, columns)


class Clickhouse:
    """One connection to one database. Every method raises Retriable or Fatal, nothing else."""

    def __init__(self, settings: ClickhouseSettings, timeout_s: int = REQUEST_TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._contexts: dict[tuple[str, tuple[str, ...]], ColumnInsert] = {}
        self.database = settings.clickhouse_database
        self.url = settings.clickhouse_url

    def query_rows(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """All rows, each column name → value. `{name:Type}` in sql is bound by the server from params."""
        try:
            fp("before_clickhouse_query", HTTPError)
            result = self._connected().query(sql, parameters=dict(params or {}))
            fp("after_clickhouse_query", HTTPError)
            return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]
        except (ClickHouseError, HTTPError, OSError) as error:
            raise self._judged("query", sql, error) from error

    def stream_rows(self, sql: str, params: Mapping[str, object] | None = None) -> Iterator[tuple[Any, ...]]:
        """Rows as tuples in the order of the SELECT, a block at a time. Call nothing else before the last one."""
        try:
            with self._connected().query_rows_stream(sql, parameters=dict(params or {})) as rows:
                yield from rows
        except (ClickHouseError, HTTPError, OSError) as error:
            raise self._judged("query", sql, error) from error

    def insert(
        self, table: str, columns: Sequence[str], column_data: Sequence[Sequence[object]], token: str | None
    ) -> int:
        """Insert whole columns as one block; returns the number of rows given.

        DateTime64(3) takes ms as int, String takes str or bytes (one kind within a column). The same token within the
        table's deduplication window changes nothing, also when the first attempt's answer was lost.
        """
        if not column_data or not len(column_data[0]):
            return 0
        settings: dict[str, Any] = {
            # A batch is there when the answer is; the server's own batching answers for part of it only.
            "async_insert": 0,
            "max_insert_threads": 1,
            # A source with a broken clock must not be able to stop the line.
            "max_partitions_per_insert_block": 0,
        }
        if token is not None:
            settings |= {"insert_deduplicate": 1, "insert_deduplication_token": token}
        try:
            fp("before_clickhouse_insert", HTTPError)
            body = serialise(self._context(table, tuple(columns)), column_data)
            self._connected().raw_insert("", insert_block=body, settings=settings)  # the statement leads the body
            fp("after_clickhouse_insert", HTTPError)
        except (ClickHouseError, HTTPError, OSError) as error:
            self._contexts.clear()  # the table may have changed under us
            raise self._judged("insert into", table, error) from error
        return len(column_data[0])

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        """Run a statement that returns nothing (DDL)."""
        try:
            fp("before_clickhouse_command", HTTPError)
            self._connected().command(sql, parameters=dict(params or {}))
            fp("after_clickhouse_command", HTTPError)
        except (ClickHouseError, HTTPError, OSError) as error:
            raise self._judged("command", sql, error) from error

    def ping(self) -> bool:
        """Whether the server answers."""
        try:
            return self._connected().ping()
        except (ClickHouseError, HTTPError, OSError):
            return False

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        client, self._client = self._client, None
        self._contexts.clear()
        if client is not None:
            with suppress(ClickHouseError, HTTPError, OSError):
                client.close()

    def _connected(self) -> Client:
        if self._client is None:
            parts = urlsplit(self.url)
            self._client = clickhouse_connect.get_client(
                interface=parts.scheme,
                host=parts.hostname or "127.0.0.1",
                port=parts.port or (8443 if parts.scheme == "https" else 8123),
                username=self._settings.clickhouse_user,
                password=self._settings.clickhouse_password.get_secret_value(),
                database=self.database,
                compress=False,  # same data centre: the CPU of both ends is dearer than the wire
                connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=self._timeout_s,
                autogenerate_session_id=False,
                client_name="touchstream",
                tz_mode="aware",
            )
        return self._client

    def _context(self, table: str, columns: tuple[str, ...]) -> ColumnInsert:
        """The column types, asked for once per table."""
        key = (table, columns)
        if key not in self._contexts:
            found = self._connected().create_insert_context(table, list(columns), column_oriented=True)
            self._contexts[key] = ColumnInsert(
                found.table, found.column_names, found.column_types, column_oriented=True
            )
        return self._contexts[key]

    def _judged(self, what: str, on: str, error: Exception) -> Exception:
        code = error.code if isinstance(error, DriverError) else None
        shown = " ".join(on.split())[:200]
        text = f"ClickHouse at {self.url}: {what} {shown!r} failed: {_first_line(error)}"
        if code in FATAL_CODES or (code is None and isinstance(error, ProgrammingError)):
            return Fatal(
                f"{text}. Check TOUCHSTREAM_CLICKHOUSE_* and bring the tables up to date with"
                " `python -m services.profile.archive.migrate`."
            )
        return Retriable(text)


def connect(settings: ClickhouseSettings, timeout_s: int = REQUEST_TIMEOUT_S) -> Clickhouse:
    """A Clickhouse for these settings; does not talk to the server yet. Each request may take timeout_s seconds."""
    return Clickhouse(settings, timeout_s)


def serialise(context: ColumnInsert, column_data: Sequence[Sequence[object]]) -> bytes:
    """The statement and its block. Raises what the driver has against the data."""
    context.columns = column_data
    try:
        body = b"".join(NativeTransform.build_insert(context))
    finally:
        context.columns = ()  # they would live until the next insert
    error, context.insert_exception = context.insert_exception, None
    if error is not None:
        raise error
    return body


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else type(error).__name__
