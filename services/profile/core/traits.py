"""The traits of a part: which write of which field counts. The same writes in any order give the same bytes.

A field has the last value by (event time, event id, source), whatever arrives when. Names as in PostHog: `$set_once`
{field: value} fills fields that nobody has ever set (of several the earliest counts), `$unset` [field, …] hides fields
until they are set again; an unset field counts as set.
"""

from services.profile.core.state import Event, Json, Part, Write

# As of names (fold.MAX_NAMES): a robot must not grow its state without end. The smallest names are kept.
MAX_TRAITS = 200
SET_ONCE, UNSET = "$set_once", "$unset"


def write_traits(part: Part, event: Event) -> None:
    """Last writer wins per field by (event time, event id, source): arrival and import order do not matter."""
    fields: dict[str, Json] = dict(event.traits)
    once, hidden = fields.pop(SET_ONCE, None), fields.pop(UNSET, None)
    if hidden:
        fields = dict.fromkeys(_names(hidden)) | fields
    part.writes = _written(part.writes, event, fields, is_last=True)
    if isinstance(once, dict) and once:
        known = {name: value for name, value in once.items() if value is not None}
        part.once = _written(part.once, event, known, is_last=False)


def _names(hidden: Json) -> list[str]:
    return [name for name in (hidden if isinstance(hidden, list) else [hidden]) if isinstance(name, str)]


def _written(writes: list[Write], event: Event, fields: dict[str, Json], is_last: bool) -> list[Write]:
    """The writes, ascending, with one more; of a field the last or the first one keeps it."""
    key = (event.occurred_at, event.event_id, event.source)
    kept: list[Write] = []
    place = 0
    for write in writes:
        is_before = (write.ms, write.event_id, write.source) < key
        if is_before is is_last:
            for name in fields:
                write.fields.pop(name, None)
            if not write.fields:
                continue
        else:
            for name in write.fields:
                fields.pop(name, None)
        if is_before:
            place = len(kept) + 1
        kept.append(write)
    if fields:
        kept.insert(place, Write(event.occurred_at, event.event_id, event.source, fields))
    return _limited(kept) if sum(len(write.fields) for write in kept) > MAX_TRAITS else kept


def _limited(writes: list[Write]) -> list[Write]:
    names = sorted(name for write in writes for name in write.fields)
    for write in writes:
        for name in names[MAX_TRAITS:]:
            write.fields.pop(name, None)
    return [write for write in writes if write.fields]
