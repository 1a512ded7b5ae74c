"""The OpenAPI 3.1 document, built from the tables that the routes and the checks use, so that it cannot disagree."""

from services.ingest.core.model import MAX_MESSAGE_ID_CHARS, MAX_NAME_CHARS
from services.ingest.core.problems import REFUSALS, REMARKS
from services.ingest.core.source import STANDARD_TYPES
from services.ingest.endpoints import ANSWER_CODES, ANSWERS, ENDPOINTS, RETRY_STATUSES, Endpoint, Limit
from services.ingest.settings import IngestSettings

Json = dict[str, object]
VERSION = "1"
_ID: Json = {"type": ["string", "integer"], "maxLength": 256}
_OBJECT: Json = {"type": "object", "additionalProperties": True}
_TIME: Json = {"type": ["string", "number"], "description": "ISO 8601, or seconds or milliseconds since 1970"}

_HEAD_KEYS: list[Json] = [{"writeKeyBasic": []}, {"writeKeyBearer": []}, {"writeKeyQuery": []}]


def build_document(settings: IngestSettings) -> Json:
    """The document as a JSON-able dict; sizes are those of these settings."""
    paths: Json = {}
    for endpoint in ENDPOINTS:
        for path in (endpoint.path, *endpoint.aliases):
            paths[path] = {"post": _operation(endpoint, path, settings)}
    page: Json = {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "for people"}
    for path in ("/", "/docs"):
        paths[path] = {"get": {"summary": "How to send touchpoints", "security": [], "responses": {"200": page}}}
    paths["/openapi.json"] = {
        "get": {"summary": "This document", "security": [], "responses": {"200": {"description": "OpenAPI 3.1"}}}
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Touchstream ingest",
            "version": VERSION,
            "description": "Touchpoints in, compatible with the SDKs of Segment and RudderStack.",
        },
        "security": [*_HEAD_KEYS, {}],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _security()},
    }


def _operation(endpoint: Endpoint, path: str, settings: IngestSettings) -> Json:
    schema = "Message" if endpoint.type else "Batch"
    content: Json = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    if endpoint.limit is Limit.IMPORT:
        content["application/x-ndjson"] = {"schema": {"type": "string", "description": "one message a line"}}
    limit: int = getattr(settings, endpoint.limit.value)
    return {
        # Elsewhere the key may stand in the body.
        **({"security": _HEAD_KEYS} if endpoint.limit is Limit.IMPORT else {}),
        "operationId": path.strip("/").replace("/", "_"),
        "summary": endpoint.summary,
        "description": f"At most {limit} bytes; plain or gzip, whatever the headers say.",
        "requestBody": {"required": True, "content": content},
        "responses": {str(status): _response(status, endpoint) for status in ANSWERS},
    }


def _response(status: int, endpoint: Endpoint) -> Json:
    name = ("Stored" if endpoint.type else "BatchStored") if status == 200 else "Error"
    response: Json = {
        "description": ANSWERS[status],
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }
    if status in RETRY_STATUSES:
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return response


def _security() -> Json:
    return {
        "writeKeyBasic": {"type": "http", "scheme": "basic", "description": "write key as user, empty password"},
        "writeKeyBearer": {"type": "http", "scheme": "bearer"},
        "writeKeyQuery": {"type": "apiKey", "in": "query", "name": "writeKey", "description": "for beacons"},
    }


def _schemas() -> Json:
    rules = {"type": "string", "enum": [*REFUSALS, *REMARKS]}
    problem: Json = {"field": {"type": "string"}, "rule": rules, "message": {"type": "string"}}
    problems: Json = {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}}
    verdict: Json = {
        "index": {"type": "integer"},
        "messageId": {"type": "string"},
        "accepted": {"type": "boolean"},
        "errors": problems,
        "remarks": problems,
    }
    counts: Json = {"accepted": {"type": "integer"}, "rejected": {"type": "integer"}}
    events: Json = {"type": "array", "items": {"$ref": "#/components/schemas/Verdict"}}
    error: Json = {
        "code": {"type": "string", "enum": sorted({*ANSWER_CODES, *REFUSALS, *REMARKS})},
        "message": {"type": "string"},
        "errors": problems,
    }
    stored: Json = {"success": {"const": True}, "messageId": {"type": "string"}, "remarks": problems}
    return {
        "Message": _message(),
        "Batch": {
            "type": "object",
            "required": ["batch"],
            "properties": {
                "batch": {"type": "array", "items": {"$ref": "#/components/schemas/Message"}},
                "sentAt": _TIME,
                "context": _OBJECT,
                "writeKey": {"type": "string"},
            },
        },
        "Problem": {"type": "object", "required": list(problem), "properties": problem},
        "Verdict": {"type": "object", "required": ["index", "accepted"], "properties": verdict},
        "Stored": {"type": "object", "required": ["success", "messageId"], "properties": stored},
        "BatchStored": {
            "type": "object",
            "required": ["success", "accepted", "rejected", "events"],
            "properties": {"success": {"const": True}, **counts, "events": events},
        },
        "Error": {"type": "object", "required": ["code", "message", "errors"], "properties": {**error, **counts}},
    }


def _message() -> Json:
    return {
        "type": "object",
        "description": "One call of an SDK (Segment's specification). Unknown fields are ignored. At least one usable "
        "identifier: userId, anonymousId, or one of the traits email, phone, unionid, openid, external_userid, or "
        "context.device.id, context.externalIds.",
        "properties": {
            "type": {"enum": sorted(STANDARD_TYPES), "description": "needed in a batch; elsewhere the path says it"},
            "event": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS, "description": "of a track call"},
            "userId": _ID,
            "anonymousId": _ID,
            "previousId": _ID,
            "groupId": _ID,
            "messageId": {
                "type": "string",
                "maxLength": MAX_MESSAGE_ID_CHARS,
                "description": "the same on every attempt: repetitions are dropped by it",
            },
            "timestamp": _TIME,
            "sentAt": _TIME,
            "name": {"type": "string", "description": "of a page or screen"},
            "category": {"type": "string"},
            "properties": _OBJECT,
            "traits": _OBJECT,
            "context": _OBJECT,
            "integrations": _OBJECT,
            "writeKey": {"type": "string", "description": "for senders that cannot set a header"},
        },
    }
