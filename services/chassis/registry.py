"""Which schema an id on the wire means: from the committed files, or from a Schema Registry when a URL is configured.

The files under schemas/ are the source of both. Without a registry the ids are those of schemas/ids.toml, the same in
every process and release. With one, this module registers the same files there and uses the registry's ids. A value
that carries a committed id is readable either way: their range is one that no registry gives out.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

from services.chassis.errors import Fatal, Poison, Retriable
from services.chassis.failpoints import fp
from services.chassis.schemas import FIRST_COMMITTED_ID, SCHEMAS, Schema, published

# A registry that does not answer in this time is treated as down; longer only delays the start or the retry.
REGISTRY_TIMEOUT_S = 5
NOT_FOUND = 404
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")


class Registry(Protocol):
    """Ids both ways. Implementations may block on the network the first time an id or schema is asked for."""

    def id_of(self, schema: Schema) -> int:
        """The id to write before values of this schema."""
        ...

    def text_of(self, schema_id: int) -> str:
        """The schema (JSON text) behind an id. Raises Poison when nobody knows it, Retriable when nobody answers."""
        ...


class CommittedRegistry:
    """The ids of schemas/ids.toml."""

    def __init__(self, folder: Path = SCHEMAS) -> None:
        self._schemas = published(folder)

    def id_of(self, schema: Schema) -> int:
        return schema.schema_id

    def text_of(self, schema_id: int) -> str:
        known = self._schemas.get(schema_id)
        if known is None:
            raise Poison(
                f"schema id {schema_id} is unknown to this release; deploy readers of a new schema before writers"
            )
        return known.text


class ConfluentRegistry:
    """A Schema Registry (Confluent's, Karapace, Apicurio's compatible API) behind `url`, which may hold user:password@.

    Each answer is asked for once per process. A schema the registry has is only looked up, so that a reader's or a
    locked-down writer's account needs no right to register.
    """

    def __init__(self, url: str, folder: Path = SCHEMAS) -> None:
        # Imported here: a second of start-up and a stack of HTTP libraries that most deployments never use.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        # No retries inside: the caller backs off, and can stop meanwhile.
        self._client = SchemaRegistryClient({"url": url, "timeout": REGISTRY_TIMEOUT_S, "max.retries": 0})
        self._shown = url.rpartition("@")[2]
        self._committed = CommittedRegistry(folder)
        self._ids: dict[int, int] = {}
        self._texts: dict[int, str] = {}

    def id_of(self, schema: Schema) -> int:
        """The registry's id; registers the schema if it is new. Raises Fatal when the registry refuses it."""
        known = self._ids.get(schema.schema_id)
        if known is None:
            known = self._ids[schema.schema_id] = self._look_up_or_register(schema)
        return known

    def text_of(self, schema_id: int) -> str:
        """The schema as the registry has it; a committed id is looked up in the files."""
        if schema_id >= FIRST_COMMITTED_ID:
            return self._committed.text_of(schema_id)
        known = self._texts.get(schema_id)
        if known is None:
            what = f"fetching schema {schema_id}"
            schema = self._ask(what, lambda: self._client.get_schema(schema_id))
            if schema is None:
                raise Poison(f"schema id {schema_id} is unknown to {self._shown}")
            known = self._texts[schema_id] = str(schema.schema_str)
        return known

    def _look_up_or_register(self, schema: Schema) -> int:
        from confluent_kafka.schema_registry import Schema as RegistrySchema

        ours, subject = RegistrySchema(schema.text, "AVRO"), schema.subject
        found = self._ask(f"looking up {subject}", lambda: self._client.lookup_schema(subject, ours))
        if found is not None and found.schema_id is not None:
            return found.schema_id
        what = f"registering {schema.record} v{schema.major}.{schema.minor} as {subject}"
        registered = self._ask(what, lambda: self._client.register_schema(subject, ours))
        if registered is None:
            raise Retriable(f"{self._shown}: {what}: answered without an id")
        return registered

    def _ask(self, what: str, request: Callable[[], T]) -> T | None:
        """The answer, None for 404. Raises Retriable for what may pass by itself, Fatal for a refusal."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            fp("before_registry")
            answer = request()
            fp("after_registry")
            return answer
        except SchemaRegistryError as error:
            if error.http_status_code == NOT_FOUND:
                return None
            if error.http_status_code in TRANSIENT:
                raise Retriable(f"{self._shown}: {what}: {error}") from error
            raise Fatal(
                f"{self._shown} refused {what}: {error}. Check the account's rights, and with 409 the subject's history"
            ) from error
        except Exception as error:  # the client leaks its HTTP library's errors
            raise Retriable(f"{self._shown}: {what}: no answer ({type(error).__name__}: {error})") from error


@cache
def open_registry(url: str = "") -> Registry:
    """The registry at url, one per process; an empty url means the committed ids. Opens no connection yet."""
    return ConfluentRegistry(url) if url else CommittedRegistry()
