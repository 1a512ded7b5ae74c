"""The HTTP interface: routes, CORS, and JSON for every answer, also for wrong paths and our own faults."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.chassis.logs import get_logger, limited
from services.ingest.endpoints import ANSWER_CODES, ENDPOINTS, Endpoint
from services.ingest.handler import Collector
from services.ingest.openapi import build_document
from services.ingest.pages import render_docs
from services.ingest.requests import BrokenOffError, Call
from services.ingest.settings import IngestSettings
from services.ingest.verdicts import answer_error

# A browser asks before it sends; the answer is good for a day.
CORS_MAX_AGE_S = 86_400
_CODES = {404: "not_found", 405: "method_not_allowed"}


class Receiver:
    """The ASGI application of one endpoint. Starlette's Request is left out: it costs as much as three events."""

    def __init__(self, collector: Collector, endpoint: Endpoint) -> None:
        self._collector = collector
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._collector.handle(self._call(scope, receive))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer.body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _call(self, scope: Scope, receive: Receive) -> Call:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        client = scope.get("client")
        query = scope.get("query_string")
        return Call(
            self._endpoint,
            _chunks(receive),
            headers.get("authorization", ""),
            QueryParams(query).get("writeKey") if query else None,
            int(length) if length.isdigit() else None,
            headers.get("content-type", ""),
            client[0] if client else "",
        )


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

    async def fail(request: Request, error: Exception) -> Response:
        logger.error("request.failed", path=request.url.path, error=type(error).__name__)
        return await _fail(request, error)

    receivers = [
        Route(path, Receiver(collector, endpoint), methods=["POST"])
        for endpoint in ENDPOINTS
        for path in (endpoint.path, *endpoint.aliases)
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.origins(),
        allow_methods=["POST", "GET"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
        max_age=CORS_MAX_AGE_S,
    )
    return Starlette(
        routes=[
            # The busiest first: routes are tried in order.
            *sorted(receivers, key=lambda route: "batch" not in route.path),
            Route("/openapi.json", openapi, methods=["GET"]),
            Route("/", docs, methods=["GET"]),
            Route("/docs", docs, methods=["GET"]),
        ],
        middleware=[cors],
        exception_handlers={HTTPException: _refuse, Exception: fail},
    )
