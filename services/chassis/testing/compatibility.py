"""The rules of change of schemas/README.md, as a checker: every problem of a schemas folder, in words.

Two schemas of one record and major must read each other's values, whichever is deployed first. What cannot be said that
way is a new major with a topic of its own.
"""

import json
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from services.chassis.schemas import FIRST_COMMITTED_ID, Schema, fingerprint, published

SCALARS = ("string", "int", "long", "boolean", "bytes")
MAX_ID = 2**31 - 1
# Names that hold a moment; their doc has to say the unit.
MOMENTS = ("_at", "_since", "_seen")


def problems(folder: Path, released: Mapping[int, str] | None = None) -> list[str]:
    """Everything wrong in a schemas folder; empty when all is well.

    released: id → fingerprint of what is out already (released_ids); those must still be there, unchanged.
    Raises Fatal when ids.toml names a file that cannot be read.
    """
    schemas = list(published(folder).values())
    return [
        *_file_problems(folder, schemas),
        *_release_problems(schemas, released or {}),
        *(problem for schema in schemas for problem in _style_problems(schema)),
        *(problem for old, new in _pairs(schemas) for problem in _pair_problems(old, new)),
    ]


def released_ids(repository: Path) -> dict[int, str]:
    """id → fingerprint as committed: at every version tag, on origin/main and at HEAD; empty outside a git checkout."""
    if not (repository / ".git").exists():
        return {}
    tags = _git(repository, "tag", "--list", "v*", "--sort=creatordate").split()
    found: dict[int, str] = {}
    for revision in (*tags, "origin/main", "HEAD"):
        text = _git(repository, "show", f"{revision}:schemas/ids.toml")
        for entry in tomllib.loads(text).get("schema", []):
            # The earliest promise is the one to keep.
            found.setdefault(entry["id"], entry["fingerprint"])
    return found


def _git(repository: Path, *arguments: str) -> str:
    # A revision that does not exist (no origin, no such file yet) prints nothing, which is the answer.
    return subprocess.run(["git", "-C", repository, *arguments], capture_output=True, text=True, check=False).stdout


def _file_problems(folder: Path, schemas: list[Schema]) -> Iterator[str]:
    listed = {(s.record, s.major, s.minor) for s in schemas}
    if len(listed) < len(schemas):
        yield "ids.toml: a file has two ids"
    files = {f"{path.parent.name}/{path.name}" for path in folder.glob("*/*.avsc")}
    for file in sorted(files - {_file(s) for s in schemas}):
        yield f"{file} has no id in ids.toml"
    for s in schemas:
        if not FIRST_COMMITTED_ID < s.schema_id <= MAX_ID:
            yield f"{_file(s)}: id {s.schema_id} is not between {FIRST_COMMITTED_ID} and {MAX_ID}"
        if fingerprint(s.text) != s.fingerprint:
            yield (
                f"{_file(s)} was edited under its published id {s.schema_id} (fingerprint {fingerprint(s.text)}, "
                f"published {s.fingerprint}): put the change into a new file with a new id"
            )


def _release_problems(schemas: list[Schema], released: Mapping[int, str]) -> Iterator[str]:
    now = {s.schema_id: s.fingerprint for s in schemas}
    for schema_id, published_fingerprint in released.items():
        if schema_id not in now:
            yield f"id {schema_id} is gone from ids.toml: values written with it can no longer be read"
        elif now[schema_id] != published_fingerprint:
            yield f"id {schema_id} means another schema than the one released ({published_fingerprint})"


def _style_problems(schema: Schema) -> Iterator[str]:
    parsed = json.loads(schema.text)
    if (parsed["type"], parsed["name"], parsed.get("namespace")) != ("record", schema.record, "touchstream"):
        yield f"{_file(schema)}: expected a record touchstream.{schema.record}"
    for field in parsed["fields"]:
        where = f"{_file(schema)}: field {field['name']}"
        if not field.get("doc"):
            yield f"{where} has no doc"
        elif field["name"].endswith(MOMENTS) and "ms" not in field["doc"]:
            yield f"{where}: doc does not say that it is in ms"
        if not _is_flat(field["type"]):
            yield f"{where}: type {json.dumps(field['type'])} is not flat: {', '.join(SCALARS)} or an array of them"


def _is_flat(kind: Any) -> bool:
    if isinstance(kind, str):
        return kind in SCALARS
    if not isinstance(kind, dict) or kind.get("type") != "array":
        return False
    items = kind["items"]
    if isinstance(items, dict) and items.get("type") == "record":
        return all(field.get("doc") and _is_flat(field["type"]) for field in items["fields"])
    return items in SCALARS


def _pairs(schemas: list[Schema]) -> Iterator[tuple[Schema, Schema]]:
    majors: dict[tuple[str, int], list[Schema]] = defaultdict(list)
    for schema in sorted(schemas, key=lambda s: s.minor):
        majors[schema.record, schema.major].append(schema)
    for versions in majors.values():
        yield from combinations(versions, 2)


def _pair_problems(old: Schema, new: Schema) -> Iterator[str]:
    before = {field["name"]: field for field in _bare(json.loads(old.text))["fields"]}
    after = {field["name"]: field for field in _bare(json.loads(new.text))["fields"]}
    where = f"{_file(old)} → {_file(new)}: field"
    for name, field in before.items():
        if name not in after:
            if "default" not in field:
                yield f"{where} {name} was removed, but old readers cannot do without it (it has no default)"
        elif after[name]["type"] != field["type"]:
            # Also int → long: the old reader would refuse the new values.
            yield f"{where} {name} changed its type: give the new one a new name"
        elif after[name].get("default") != field.get("default"):
            yield f"{where} {name} changed its default: old values would read differently"
    for name, field in after.items():
        if name not in before and "default" not in field:
            yield f"{where} {name} was added without a default: old values do not have it"


def _bare(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if key not in ("doc", "order", "aliases")}
    return [_bare(item) for item in node] if isinstance(node, list) else node


def _file(schema: Schema) -> str:
    return f"{schema.record}/v{schema.major}" + (f".{schema.minor}" if schema.minor else "") + ".avsc"
