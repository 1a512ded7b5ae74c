"""The HTTP interface: routes, CORS, and JSON for every answer, also for wrong paths and our own faults."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.chassis.failpoints import fp_async
from services.chassis.logs import get_logger, limited
from services.ingest.endpoints import ANSWER_CODES, ENDPOINTS, Endpoint
from services.ingest.handler import Collector
from services.ingest.openapi import build_document
from services.ingest.pages import render_docs
from services.ingest.requests import BrokenOffError, Call
from services.ingest.settings import IngestSettings
from services.ingest.verdicts import Answer, answer_error

# A browser asks before it sends; the answer is good for a day.
CORS_MAX_AGE_S = 86_400
_JSON = (b"content-type", b"application/json")
_WANTED = frozenset({b"authorization", b"content-length", b"content-type"})
_ROOT = Path(__file__).resolve().parents[2]
_CODES = {404: "not_found", 405: "method_not_allowed"}


class Receiver:
    """The ASGI application of one endpoint. Starlette's Request is left out: it costs as much as three events."""

    def __init__(self, collector: Collector, endpoint: Endpoint) -> None:
        self._collector = collector
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _send(await self.answer(scope, receive), send)

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """What the collector answers. Raises only what is a fault of ours."""
        headers = _wanted(scope)
        length = headers.get(b"content-length", "")
        client = scope.get("client")
        query = scope.get("query_string")
        call = Call(
            self._endpoint,
            _chunks(receive),
            headers.get(b"authorization", ""),
            QueryParams(query).get("writeKey") if query else None,
            int(length) if length.isdigit() else None,
            headers.get(b"content-type", ""),
            client[0] if client else "",
        )
        return await self._collector.handle(call)


class Front:
    """What nearly every request is, a POST from no browser to one of our paths, goes to its receiver directly.

    Everything else is Starlette's: CORS, pages, wrong paths and methods. Its layers, none of which does anything for
    those POSTs, cost as much as two events, twice over where requests are small.
    """

    def __init__(
        self, receivers: Mapping[str, Receiver], rest: ASGIApp, note: Callable[[str, Exception], None]
    ) -> None:
        """`note` logs a fault of ours: path, error."""
        self._receivers = receivers
        self._rest = rest
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        receiver = self._receivers.get(scope.get("path", ""))
        if receiver is None or scope["method"] != "POST" or b"origin" in _names(scope):
            # Starlette raises again what it has answered and noted. uvicorn would log the error's text, and every time.
            with contextlib.suppress(Exception):
                await self._rest(scope, receive, send)
            return
        try:
            answer = await receiver.answer(scope, receive)
        except Exception as error:  # noqa: BLE001 - the top; uvicorn would log its text
            self._note(scope["path"], error)
            answer = answer_error(500, "internal_error")
        await _send(answer, send)


def _place(error: BaseException) -> str:
    """file:line of the innermost frame of ours; the error's text stays out of the log, it may hold a person's data."""
    frames = [(code.co_filename, line) for code, line in _frames(error)]
    ours = [frame for frame in frames if Path(frame[0]).is_relative_to(_ROOT)]
    file, line = (ours or frames or [("", 0)])[-1]
    return f"{Path(file).relative_to(_ROOT) if ours else Path(file).name}:{line}"


def _frames(error: BaseException) -> Iterator[tuple[CodeType, int]]:
    trace = error.__traceback__
    while trace:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next


def _names(scope: Scope) -> set[bytes]:
    return {name for name, _ in scope["headers"]}


def _wanted(scope: Scope) -> dict[bytes, str]:
    """The headers a call is made of; of several with one name the first counts."""
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _WANTED and name not in found:
            found[name] = value.decode("latin-1")
    return found


async def _send(answer: Answer, send: Send) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(answer.body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    await fp_async("before_answer")
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
    await fp_async("after_answer")


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BrokenOffError
        body: bytes = message.get("body", b"")
        if body:
            yield body
        if not message.get("more_body"):
            return


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, "internal_error")
    answer = answer_error(error.status_code, code, f"{ANSWER_CODES[code]}: {request.method} {request.url.path}")
    return Response(answer.body, error.status_code, {**(error.headers or {}), **answer.headers}, "application/json")


async def _fail(request: Request, error: Exception) -> Response:
    """SDKs try again after a 500; the log has the cause, the answer must not (it may hold a person's data)."""
    answer = answer_error(500, "internal_error")
    return Response(answer.body, 500, media_type="application/json")


def build_app(collector: Collector, settings: IngestSettings) -> Any:
    """The ASGI application."""
    logger = limited(get_logger())
    document = build_document(settings)
    page = render_docs(settings)

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    async def docs(request: Request) -> Response:
        return HTMLResponse(page)

    def note(path: str, error: Exception) -> None:
        logger.error("request.failed", path=path, error=type(error).__name__, place=_place(error))

    async def fail(request: Request, error: Exception) -> Response:
        note(request.url.path, error)
        return await _fail(request, error)

    receivers = {
        path: Receiver(collector, endpoint) for endpoint in ENDPOINTS for path in (endpoint.path, *endpoint.aliases)
    }
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.origins(),
        allow_methods=["POST", "GET"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
        max_age=CORS_MAX_AGE_S,
    )
    rest = Starlette(
        routes=[
            *(Route(path, receiver, methods=["POST"]) for path, receiver in receivers.items()),
            Route("/openapi.json", openapi, methods=["GET"]),
            Route("/", docs, methods=["GET"]),
            Route("/docs", docs, methods=["GET"]),
        ],
        middleware=[cors],
        exception_handlers={HTTPException: _refuse, Exception: fail},
    )
    return Front(receivers, rest, note)
