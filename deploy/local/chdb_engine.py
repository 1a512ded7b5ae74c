"""One chDB engine on one directory: runs a statement, or an INSERT with its data, as a ClickHouse server would.

Every request gets its own chDB connection, opened and closed around it: settings, USE and failures of one request can
then not leak into another, and requests run side by side. chDB lets go of the interpreter lock meanwhile. Inserts with
data, most of all requests, share connections per database (0.8 of 6 ms): their settings stand in the statement, and a
connection that saw a failure is closed. One connection stays open for the life of the Engine, because the last close
stops the embedded server.

Nothing here knows HTTP. One process per directory: a second one is refused by chDB.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chdb.state import connect
from chdb.state.sqlitelike import Connection

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CODE = re.compile(r"Code: (\d+)\. ")
_FORMAT_AT_END = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
# The head of an INSERT whose data follow on the next line. Data begin right after that newline.
_INSERT_WITH_DATA = re.compile(
    rb"\A(\s*INSERT\s+INTO\b.*?)\bFORMAT\s+(\w+)[ \t]*;?[ \t]*(?:\r?\n|\Z)", re.IGNORECASE | re.DOTALL
)
# How far into a body the end of that head is looked for: a longer one would have thousands of columns.
_HEAD_LIMIT_BYTES = 1 << 18
# A head into which settings cannot simply be put: it has some of its own, or the word stands in a name.
_HAS_SETTINGS = re.compile(rb"\bSETTINGS\b", re.IGNORECASE)
_CONFIG = Path(__file__).with_name("chdb.xml")
_HAS_RESULT = re.compile(rb"\A[\s(]*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN|CHECK|FROM|VALUES)\b", re.IGNORECASE)


# How many errors there ever were, and the newest one. 3 ms of CPU: every error code is a row.
# Without what is no insert's: marks of a part were being loaded when a merge, or TRUNCATE, took the part away.
_ERRORS = """
SELECT sum(value), argMax(name, last_error_time), argMax(last_error_message, last_error_time) FROM system.errors
WHERE name != 'ASYNC_LOAD_CANCELED'
"""


class EngineError(Exception):
    """A statement failed; `code` is ClickHouse's error code (0 unknown), the text ClickHouse's own."""

    def __init__(self, text: str) -> None:
        start = text.find("Code: ")
        text = text[start:] if start > 0 else text
        found = _CODE.match(text)
        self.code = int(found.group(1)) if found else 0
        super().__init__(text.strip())


@dataclass(frozen=True, slots=True)
class Request:
    """A statement with everything that came along with it; `data` follows an INSERT … FORMAT, already decompressed."""

    sql: bytes
    data: bytes | None = None
    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    default_format: str = "TabSeparated"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a statement gave: `format` is empty when it has no result set; summary as in X-ClickHouse-Summary."""

    body: bytes
    format: str
    summary: dict[str, str]


def split_insert(sql: bytes) -> tuple[bytes, bytes | None]:
    """(statement, data): data is None unless sql is `INSERT … FORMAT X` followed by a line end and the data."""
    found = _INSERT_WITH_DATA.match(sql[:_HEAD_LIMIT_BYTES])
    return (sql, None) if found is None else (found.group(0).rstrip(), sql[found.end() :])


class Engine:
    """The embedded server on `path`; execute() may be called from any number of threads at once."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        # realpath: chDB compares directories by spelling and takes another spelling for a second engine.
        self._path = f"{path.resolve()}?config-file={_CONFIG}"
        self._idle: dict[str, list[Connection]] = {}
        self._lock = threading.Lock()
        self._anchor = _open(self._path)
        rows = self._anchor.query("SELECT version(), timezone()", "TabSeparated").bytes().decode().split()
        self.version, self.time_zone = rows
        self._errors = 0
        self._count_errors(self._anchor)

    def execute(self, request: Request) -> Reply:
        """Run one request to its end and return the whole result. Raises EngineError."""
        if request.data is not None and not _HAS_SETTINGS.search(request.sql):
            return self._insert_shared(request, request.data)
        connection = _open(self._path)
        try:
            _use(connection, request.database)
            if request.settings:
                connection.query(f"SET {_assignments(request.settings)}", "Null")
            if request.data is not None:
                return self._insert(connection, request.sql, request.data)
            return _query(connection, request)
        except Exception as error:  # noqa: BLE001 - chDB raises RuntimeError and kinds of its own
            self._count_errors(connection)
            raise _judged(error) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Stop the embedded server; whatever was acknowledged is on disk already."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in [one for ones in idle.values() for one in ones]:
            connection.close()
        self._anchor.close()

    def _insert_shared(self, request: Request, data: bytes) -> Reply:
        with self._lock:
            idle = self._idle.get(request.database)
            connection = idle.pop() if idle else None
        try:
            if connection is None:
                connection = _open(self._path)
                _use(connection, request.database)
            # One block of data: more threads than one would only be started and stopped.
            reply = self._insert(
                connection, request.sql, data, _assignments({"max_threads": "1"} | {**request.settings})
            )
        except Exception as error:  # noqa: BLE001 - chDB raises RuntimeError and kinds of its own
            if connection is not None:
                self._count_errors(connection)
                connection.close()
            raise _judged(error) from None
        with self._lock:
            self._idle.setdefault(request.database, []).append(connection)
        return reply

    def _insert(self, connection: Connection, sql: bytes, data: bytes, settings: str = "") -> Reply:
        """An insert that is reported as done only when nothing failed meanwhile.

        chDB 26.9 says so of one whose commit failed (full disk, too many parts, a constraint), and the rows are not
        there. Only its counters of errors know. They know nothing of who: an error of another request at that moment
        makes this one fail too, and whoever repeats it under its token writes nothing twice.
        """
        with self._lock:
            before = self._errors
        reply = _insert(connection, sql, data, settings)
        newest = self._count_errors(connection)
        with self._lock:
            failed = self._errors != before
        if failed or (data and reply.summary["written_rows"] == "0"):
            raise EngineError(f"Code: 1002. DB::Exception: the insert may not have been written: {newest}")
        return reply

    def _count_errors(self, connection: Connection) -> str:
        """Remember how many there were; the newest one. Never fewer than before, whoever asked first."""
        found = connection.query(_ERRORS, "TabSeparated").bytes().decode("utf-8", "replace").strip("\n").split("\t")
        with self._lock:
            self._errors = max(self._errors, int(found[0]))
        return f"{found[2]} ({found[1]})" if len(found) > 2 else ""


def _open(path: str) -> Connection:
    try:
        return connect(path)
    except RuntimeError as error:
        raise EngineError(f"cannot open chDB on {path} (is another process using it?): {error}") from None


def _judged(error: Exception) -> EngineError:
    return error if isinstance(error, EngineError) else EngineError(str(error))


def _use(connection: Connection, database: str) -> None:
    if database and database != "default":
        connection.query(f"USE `{database.replace('`', '')}`", "Null")


def _assignments(settings: Mapping[str, str]) -> str:
    texts = []
    for name, value in settings.items():
        if not _IDENTIFIER.match(name):
            raise EngineError(f"Code: 115. DB::Exception: Setting name {name!r} is malformed. (UNKNOWN_SETTING)")
        # Quoted whatever the type: ClickHouse converts text to numbers, a bare number for a text setting fails.
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        texts.append(f"{name} = '{quoted}'")
    return ", ".join(texts)


def _insert(connection: Connection, sql: bytes, data: bytes, settings: str = "") -> Reply:
    found = _INSERT_WITH_DATA.match(sql)
    if found is None:
        raise EngineError("Code: 62. DB::Exception: Data without an INSERT … FORMAT before them. (SYNTAX_ERROR)")
    head = found.group(1).decode() + (f" SETTINGS {settings}" if settings else "")
    with connection.send_insert(head, found.group(2).decode()) as inserter:
        if data:
            inserter.append(data)
        done = inserter.finish()
    return Reply(b"", "", _summary(written_rows=done.rows_written, written_bytes=done.bytes_written, s=done.elapsed))


def _query(connection: Connection, request: Request) -> Reply:
    named = _FORMAT_AT_END.search(request.sql)
    form = named.group(1).decode() if named else request.default_format
    result: Any = connection.query(request.sql.decode("utf-8", "surrogateescape"), form, params=dict(request.params))
    summary = _summary(read_rows=result.rows_read(), read_bytes=result.bytes_read(), s=result.elapsed())
    return Reply(result.bytes() or b"", form if named or _HAS_RESULT.match(request.sql) else "", summary)


def _summary(s: float, **counts: int) -> dict[str, str]:
    zero = dict.fromkeys(("read_rows", "read_bytes", "written_rows", "written_bytes"), 0)
    return {name: str(count) for name, count in (zero | counts).items()} | {"elapsed_ns": str(int(s * 1e9))}
