"""ClickHouse's HTTP interface in front of an Engine, as far as clickhouse-connect, curl and BI tools use it.

Here: `/`, `/ping`; SQL in the URL, the body or a form; `param_*`; settings in the URL; INSERT with data after the first
line or as the whole body; lz4, zstd, gzip and deflate bodies; X-ClickHouse-* headers; errors with ClickHouse's code.
Not here, unlike a server: users and passwords (loopback only), server-side sessions (`session_id` is accepted and each
request still stands alone), compressed answers (loopback: plain is cheaper), external tables, progress headers.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP

import anyio
import anyio.to_thread
import lz4.frame  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from deploy.local.chdb_engine import Engine, EngineError, Reply, Request, split_insert

# Requests that run at once. Lower: a few slow analyses hold up the archive's inserts. Higher: more memory at once.
CONCURRENT_REQUESTS = 8
# A body above this is refused with 413; the archive sends a few MB. Higher: one client can exhaust the machine.
MAX_BODY_BYTES = 512 << 20

# URL parameters that the transport uses up; everything else that is no param_* is a setting of the engine.
TRANSPORT = frozenset(
    {
        "query", "database", "default_format", "user", "password", "quota_key", "role", "query_id",
        "session_id", "session_timeout", "session_check", "client_protocol_version",
        "compress", "decompress", "enable_http_compression", "buffer_size", "wait_end_of_query",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close",
    }
)  # fmt: skip


def _unlz4(body: bytes) -> bytes:
    """All frames of body: clickhouse-connect sends one a block, and lz4.frame.decompress would stop after the first."""
    parts = []
    while body:
        decoder = lz4.frame.LZ4FrameDecompressor()
        parts.append(decoder.decompress(body))
        if not decoder.eof:
            raise EOFError("the last frame is cut off")
        body = decoder.unused_data or b""
    return b"".join(parts)


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "lz4": _unlz4,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}
# As ClickHouse's exceptionCodeToHTTPStatus: what the client got wrong is not a 500, which some clients send again.
_NOT_FOUND = frozenset({46, 47, 60, 81, 82, 115})
_BAD_REQUEST = frozenset({6, 26, 27, 33, 36, 38, 41, 43, 44, 53, 62, 69, 70, 72, 117, 130, 456, 457})


class BadRequest(Exception):  # noqa: N818 - HTTP's own word
    """The HTTP request itself is wrong; carries the status to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def create_app(engine: Engine) -> Starlette:
    """The ASGI application over an open engine."""
    limiter = anyio.CapacityLimiter(CONCURRENT_REQUESTS)

    async def ping(request: HttpRequest) -> Response:
        return Response("Ok.\n", media_type="text/plain")

    async def root(http: HttpRequest) -> Response:
        try:
            _refuse_browsers(http)
            request = await read_request(http)
            if not request.sql.strip():
                return await ping(http)
            reply = await anyio.to_thread.run_sync(engine.execute, request, limiter=limiter)
        except BadRequest as error:
            return Response(f"{error}\n", error.status, media_type="text/plain")
        except EngineError as error:
            return _failure(error, engine)
        return _success(reply, engine, http.query_params.get("query_id", ""))

    methods = ["GET", "POST", "HEAD"]
    return Starlette(routes=[Route("/ping", ping, methods=methods), Route("/", root, methods=methods)])


def _refuse_browsers(http: HttpRequest) -> None:
    # There is no password here: without this any web page open on the machine could read files and drop tables,
    # with a plain form (Origin) or by letting its own name point to 127.0.0.1 (Host).
    host = http.headers.get("host", "").rsplit(":", 1)[0]
    if "origin" in http.headers or host not in ("127.0.0.1", "localhost", "[::1]", ""):
        raise BadRequest(403, "this local ClickHouse answers programs on this machine only, no web pages")


async def read_request(http: HttpRequest) -> Request:
    """The statement, its data and all that belongs to it. Raises BadRequest."""
    body = await _read_body(http)
    args = dict(http.query_params)
    if http.headers.get("content-type", "").startswith("multipart/form-data"):
        args |= _form_fields(http.headers["content-type"], body)
        body = b""
    head = args.get("query", "").encode()
    if not head:
        sql, data = split_insert(body)
    else:
        # As in ClickHouse: the statement is the URL's, followed by the body.
        sql, data = split_insert(head + b"\n" + body)
    return Request(
        sql=sql,
        data=data,
        database=args.get("database") or http.headers.get("x-clickhouse-database", ""),
        settings={k: v for k, v in args.items() if k not in TRANSPORT and not k.startswith("param_")},
        params={k[len("param_") :]: v for k, v in args.items() if k.startswith("param_")},
        default_format=args.get("default_format") or http.headers.get("x-clickhouse-format", "TabSeparated"),
    )


async def _read_body(http: HttpRequest) -> bytes:
    chunks = bytearray()
    async for chunk in http.stream():
        chunks += chunk
        if len(chunks) > MAX_BODY_BYTES:
            raise BadRequest(413, f"the body is over {MAX_BODY_BYTES} bytes: send it in several inserts")
    encoding = http.headers.get("content-encoding", "").lower()
    try:
        decode = _zstd() if encoding == "zstd" else _DECODERS[encoding]
    except (KeyError, ImportError):
        raise BadRequest(415, f"Content-Encoding {encoding!r}: use lz4, zstd, gzip, deflate or none") from None
    try:
        return decode(bytes(chunks))
    except (RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
        raise BadRequest(400, f"the body is not valid {encoding}: {error}") from None


def _zstd() -> Callable[[bytes], bytes]:
    # Comes with clickhouse-connect on Pythons before 3.14; lz4 is what clients prefer anyway.
    from backports import zstd

    return zstd.decompress


def _form_fields(content_type: str, body: bytes) -> dict[str, str]:
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise BadRequest(501, "external tables are not supported by the local ClickHouse")
        fields[str(name)] = bytes(part.get_payload(decode=True) or b"").decode()
    return fields


def _success(reply: Reply, engine: Engine, query_id: str) -> Response:
    headers = {
        "X-ClickHouse-Summary": json.dumps(reply.summary),
        "X-ClickHouse-Timezone": engine.time_zone,
        "X-ClickHouse-Server-Display-Name": "chdb",
        "X-ClickHouse-Query-Id": query_id,
    }
    if reply.format:
        headers["X-ClickHouse-Format"] = reply.format
    return Response(reply.body, headers=headers, media_type="text/plain; charset=UTF-8")


def _failure(error: EngineError, engine: Engine) -> Response:
    status = 404 if error.code in _NOT_FOUND else 400 if error.code in _BAD_REQUEST else 500
    text = str(error) if "(version " in str(error) else f"{error} (version {engine.version} (chDB))"
    headers = {"X-ClickHouse-Exception-Code": str(error.code)}
    return Response(f"{text}\n", status, headers, media_type="text/plain; charset=UTF-8")
