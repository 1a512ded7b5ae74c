"""The published schemas: the .avsc files of schemas/ and their ids, the source that every registry is filled from."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from services.chassis.errors import Fatal

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
# Above every id a registry assigns (they count up from 1), below 2^31: Java clients read the id as a signed int.
FIRST_COMMITTED_ID = 2_000_000_000


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
        # Only the attribute of a field or named type, which stands beside "name"; a default may hold a key doc.
        return {k: _without_doc(v) for k, v in node.items() if not (k == "doc" and "name" in node)}
    return [_without_doc(item) for item in node] if isinstance(node, list) else node


@cache
def published(folder: Path = SCHEMAS) -> Mapping[int, Schema]:
    """Every schema of folder/ids.toml by id. Raises Fatal when a file is missing or misnamed."""
    entries = tomllib.loads((folder / "ids.toml").read_text(encoding="utf-8"))["schema"]
    schemas = [_load(folder, entry) for entry in entries]
    if len({s.schema_id for s in schemas}) < len(schemas):
        raise Fatal(f"{folder / 'ids.toml'}: an id is given twice")
    return {s.schema_id: s for s in schemas}


def _load(folder: Path, entry: Mapping[str, Any]) -> Schema:
    path = folder / entry["file"]
    try:
        text = path.read_text(encoding="utf-8")
        major, _, minor = path.stem.removeprefix("v").partition(".")
        return Schema(entry["id"], path.parent.name, int(major), int(minor or 0), entry["fingerprint"], text)
    except (OSError, ValueError) as error:
        raise Fatal(f"schema id {entry['id']}: {path} is no readable v<major>[.<minor>].avsc: {error}") from error


def newest(record: str, major: int, folder: Path = SCHEMAS) -> Schema:
    """The schema that this release writes and reads this major with. Raises Fatal when there is none."""
    found = [s for s in published(folder).values() if (s.record, s.major) == (record, major)]
    if not found:
        raise Fatal(f"no schema of {record} v{major} in {folder / 'ids.toml'}")
    return max(found, key=lambda s: s.minor)
