"""The traits of a part: which write of which field counts. The same writes in any order give the same bytes."""

from services.profile.core.state import Event, Json, Part, Write

# As of names (fold.MAX_NAMES): a robot must not grow its state without end. The smallest names are kept.
MAX_TRAITS = 200


def write_traits(part: Part, event: Event) -> None:
    """Last writer wins per field by (event time, event id, source): arrival and import order do not matter."""
    key = (event.occurred_at, event.event_id, event.source)
    fields: dict[str, Json] = dict(event.traits)
    kept: list[Write] = []
    place = 0
    for write in part.writes:
        if (write.ms, write.event_id, write.source) < key:
            for name in fields:
                write.fields.pop(name, None)
            if not write.fields:
                continue
            place = len(kept) + 1
        else:
            for name in write.fields:
                fields.pop(name, None)
        kept.append(write)
    if fields:
        kept.insert(place, Write(event.occurred_at, event.event_id, event.source, fields))
    part.writes = kept
    if sum(len(write.fields) for write in kept) > MAX_TRAITS:
        _limit_traits(part)


def _limit_traits(part: Part) -> None:
    names = sorted(name for write in part.writes for name in write.fields)
    for write in part.writes:
        for name in names[MAX_TRAITS:]:
            write.fields.pop(name, None)
    part.writes = [write for write in part.writes if write.fields]
