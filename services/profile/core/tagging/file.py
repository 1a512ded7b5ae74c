"""tags.yaml as it is written: sections, entries and their fields. What conditions say is read elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import msgspec

from services.profile.core.tagging.parse import near

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
# Also a label of metrics and a key in rules.
Name = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,49}$")]
EventName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_SECTIONS = ("counters", "stages", "tags", "segments")


class CounterEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See vocabulary.Counter."""

    events: Annotated[tuple[EventName, ...], msgspec.Meta(min_length=1, max_length=100)]
    where: Text = ""
    each: Text = ""
    sum: Text = ""


class StageEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"condition": "if"}):
    """A stage; the last has no condition."""

    stage: str
    condition: Text | None = None


class TagEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"condition": "if"}):
    """A tag or a segment."""

    condition: Text
    ends: Text | None = None
    reason: Text | None = None
    group: str = "custom"
    description: Text | None = None


@dataclass(slots=True)
class File:
    """Entries by name. `broken`: section.name of those that could not be read, so that others may still name them."""

    counters: dict[str, CounterEntry] = field(default_factory=dict)
    stages: tuple[StageEntry, ...] = ()
    tags: dict[str, TagEntry] = field(default_factory=dict)
    segments: dict[str, TagEntry] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def names(self, section: str) -> frozenset[str]:
        """Of a section's entries, broken ones as well."""
        prefix = f"{section}."
        found: dict[str, object] = getattr(self, section)
        return frozenset(found) | {name.removeprefix(prefix) for name in self.broken if name.startswith(prefix)}


_Entry = TypeVar("_Entry", CounterEntry, TagEntry)


def read_file(data: object, problems: list[str]) -> File:
    """What parsed YAML says; every mistake of form is added to `problems`, a line each, and its entry left out."""
    file = File()
    if not isinstance(data, Mapping):
        if data is not None:
            problems.append(f"expected the sections {', '.join(_SECTIONS)}, got {_kind(data)}")
        return file
    problems += [f"{name}: {_unknown(name, _SECTIONS)}" for name in data if name not in _SECTIONS]
    file.counters = _entries(data, "counters", CounterEntry, file, problems)
    file.tags = _entries(data, "tags", TagEntry, file, problems)
    file.segments = _entries(data, "segments", TagEntry, file, problems)
    stages = data.get("stages") or ()
    if isinstance(stages, list | tuple):
        read = [_entry(f"stages[{place}]", entry, StageEntry, problems) for place, entry in enumerate(stages)]
        file.stages = tuple(entry for entry in read if entry is not None)
        file.broken |= {f"stages.{place}" for place, entry in enumerate(read) if entry is None}
    else:
        problems.append(f"stages: expected a list, got {_kind(stages)}")
        file.broken.add("stages.")
    return file


def _entries(
    data: Mapping[object, object], section: str, kind: type[_Entry], file: File, problems: list[str]
) -> dict[str, _Entry]:
    entries = data.get(section) or {}
    if not isinstance(entries, Mapping):
        problems.append(f"{section}: expected names and what they mean, got {_kind(entries)}")
        return {}
    found = {}
    for name, value in entries.items():
        key = f"{section}.{name}"
        entry = _entry(key, value, kind, problems)
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            problems.append(f"{key}: expected a name of a-z, 0-9 and _ that begins with a letter, 50 at most")
            entry = None
        if entry is None:
            file.broken.add(key)
        else:
            found[name] = entry
    return found


_Kind = TypeVar("_Kind", CounterEntry, TagEntry, StageEntry)


def _entry(key: str, value: object, kind: type[_Kind], problems: list[str]) -> _Kind | None:
    if not isinstance(value, Mapping):
        problems.append(f"{key}: expected {', '.join(kind.__struct_encode_fields__)}, got {_kind(value)}")
        return None
    unknown = [name for name in value if name not in kind.__struct_encode_fields__]
    problems += [f"{key}.{name}: {_unknown(name, kind.__struct_encode_fields__)}" for name in unknown]
    known = {name: one for name, one in value.items() if name not in unknown}
    try:
        entry: _Kind = msgspec.convert(known, kind)
    except msgspec.ValidationError as error:
        # A field that is written wrongly is not missing as well.
        if not (unknown and "missing required field" in str(error)):
            problems.append(f"{key}: {error}")
        return None
    return None if unknown else entry


def _unknown(name: object, known: Iterable[str]) -> str:
    meant = near(name, known) if isinstance(name, str) else ""
    return f"nobody reads this{meant}, expected one of {', '.join(known)}"


def _kind(value: object) -> str:
    return "nothing" if value is None else f"the {type(value).__name__} {str(value)[:50]!r}"
