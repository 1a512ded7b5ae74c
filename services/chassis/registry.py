"""Which schema an id on the wire means: from the committed files, or from a Schema Registry when a URL is configured.

The files under schemas/ are the source of both. Without a registry the ids are those of schemas/ids.toml, the same in
every process and release. With one, this module registers the same files there and uses the registry's ids. A value
that carries a committed id is readable either way: their range is one that no registry gives out.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from services.chassis.errors import Fatal, Poison, Retriable

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
# Above every id a registry assigns (they count up from 1), below 2^31: Java clients read the id as a signed int.
FIRST_COMMITTED_ID = 2_000_000_000
# A registry that does not answer in this time is treated as down; longer only delays the start or the retry.
REGISTRY_TIMEOUT_S = 5
NOT_FOUND = 404
SERVER_ERROR = 500


class SchemaProblem(Exception):  # noqa: N818
    """schemas/ids.toml and the files beside it do not agree; the text names file and id."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One published schema: `text` is the .avsc file, (record, major, minor) its place, e.g. touchpoint v1.2."""

    schema_id: int
    record: str
    major: int
    minor: int
    fingerprint: str
    text: str

    @property
    def subject(self) -> str:
        """The registry's subject. It follows the record, not the topic (RecordNameStrategy): touchpoints.resolved holds
        two records and a touchpoint lies in two topics. A major has its own: a registry refuses to mix them."""
        return f"touchstream.{self.record}" + (f".v{self.major}" if self.major > 1 else "")


def fingerprint(text: str) -> str:
    """16 hex characters of SHA-256 over the schema without `doc`.

    Avro's own canonical form leaves out defaults too, but a changed default changes what readers of old data see.
    """
    canonical = json.dumps(_without_doc(json.loads(text)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _without_doc(node: Any) -> Any:
    if isinstance(node, dict):
        # A field may be called doc; only the attribute of a named type or field goes, and that is always a text
        # beside "name".
        return {k: _without_doc(v) for k, v in node.items() if not (k == "doc" and "name" in node)}
    return [_without_doc(item) for item in node] if isinstance(node, list) else node


@cache
def published(folder: Path = SCHEMAS) -> Mapping[int, Schema]:
    """Every schema of folder/ids.toml by id. Raises SchemaProblem when a file is missing or misnamed."""
    entries = tomllib.loads((folder / "ids.toml").read_text())["schema"]
    schemas = [_load(folder, entry) for entry in entries]
    if len({s.schema_id for s in schemas}) < len(schemas):
        raise SchemaProblem(f"{folder / 'ids.toml'}: an id is given twice")
    return {s.schema_id: s for s in schemas}


def _load(folder: Path, entry: Mapping[str, Any]) -> Schema:
    path = folder / entry["file"]
    try:
        text = path.read_text()
        major, _, minor = path.stem.removeprefix("v").partition(".")
        return Schema(entry["id"], path.parent.name, int(major), int(minor or 0), entry["fingerprint"], text)
    except (OSError, ValueError) as error:
        raise SchemaProblem(
            f"schema id {entry['id']}: {path} is no readable v<major>[.<minor>].avsc: {error}"
        ) from error


def newest(record: str, major: int, folder: Path = SCHEMAS) -> Schema:
    """The schema that this release writes and reads this major with. Raises SchemaProblem when there is none."""
    found = [s for s in published(folder).values() if (s.record, s.major) == (record, major)]
    if not found:
        raise SchemaProblem(f"no schema of {record} v{major} in {folder / 'ids.toml'}")
    return max(found, key=lambda s: s.minor)


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

        self._url = url
        self._client = SchemaRegistryClient({"url": url, "timeout": REGISTRY_TIMEOUT_S, "max.retries": 2})
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
        if schema_id >= FIRST_COMMITTED_ID:
            return self._committed.text_of(schema_id)
        known = self._texts.get(schema_id)
        if known is None:
            known = self._texts[schema_id] = self._fetch(schema_id)
        return known

    def _look_up_or_register(self, schema: Schema) -> int:
        from confluent_kafka.schema_registry import Schema as RegistrySchema
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        ours = RegistrySchema(schema.text, "AVRO")
        try:
            try:
                found = self._client.lookup_schema(schema.subject, ours).schema_id
            except SchemaRegistryError as error:
                if error.http_status_code != NOT_FOUND:
                    raise
                found = self._client.register_schema(schema.subject, ours)
        except SchemaRegistryError as error:
            if error.http_status_code >= SERVER_ERROR:
                raise Retriable(f"{self._url}: registering {schema.subject}: {error}") from error
            raise Fatal(
                f"{self._url} refused {schema.subject} ({schema.record} v{schema.major}.{schema.minor}): {error}. "
                "Register it with an account that may, or mend the subject's history"
            ) from error
        except Exception as error:  # the client leaks its HTTP library's errors
            raise Retriable(f"{self._url} does not answer: {error}") from error
        if found is None:
            raise Retriable(f"{self._url} answered without an id for {schema.subject}")
        return found

    def _fetch(self, schema_id: int) -> str:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return str(self._client.get_schema(schema_id).schema_str)
        except SchemaRegistryError as error:
            if error.http_status_code == NOT_FOUND:
                raise Poison(f"schema id {schema_id} is unknown to {self._url}") from error
            raise Retriable(f"{self._url}: fetching schema {schema_id}: {error}") from error
        except Exception as error:  # the client leaks its HTTP library's errors
            raise Retriable(f"{self._url} does not answer: {error}") from error


@cache
def open_registry(url: str = "") -> Registry:
    """The registry at url, one per process; an empty url means the committed ids. Opens no connection yet."""
    return ConfluentRegistry(url) if url else CommittedRegistry()
