"""A customer's profile as JSON for rules, templates and the archive. Same state, same bytes. Times: ms UTC."""

import msgspec

from services.profile.core.state import Conclusion, Json, Part, Rfm, View

_JSON = msgspec.json.Encoder(order="deterministic")
# A record must fit into a batch of the broker (1 MiB), or its partition could never go on. Lower: large but honest
# profiles lose fields that rules ask for. Higher: no room for the event's own properties and the hand-over's nodes.
MAX_SHOWN_BYTES = 400_000
MAX_SHOWN_IDENTIFIERS = 500


class _Tag(msgspec.Struct, gc=False):
    since: int
    reason: str


class _Rfm(msgspec.Struct, gc=False):
    recency_days: int
    frequency: int
    monetary_minor: int
    currency: str
    r: int
    f: int
    m: int
    composite: int
    thresholds_version: int


class _Head(msgspec.Struct, gc=False):
    customer_id: str
    traits: dict[str, Json]
    tags: dict[str, _Tag]
    stage: str
    stage_since: int
    rfm: _Rfm


def profile_json(
    customer_id: str, view: View, conclusion: Conclusion, rfm: Rfm, head: bytes = b"",
    counts: dict[str, int] | None = None,
) -> bytes:  # fmt: skip
    """`profile_change.profile`; `head` and `counts`: what profile_head and counts_of say, where that is known.

    {customer_id, traits, tags {name: {since, reason}}, stage, stage_since, rfm {recency_days, frequency,
    monetary_minor, currency, r, f, m, composite, thresholds_version}, counts {event name: lifetime count},
    first_seen, last_seen}
    """
    if counts is None:
        counts = counts_of(view.parts)
    whole = _whole(head or profile_head(customer_id, view, conclusion, rfm), counts, view)
    if len(whole) > MAX_SHOWN_BYTES:
        traits = _bounded(traits_of(view.parts))
        whole = _whole(_head(customer_id, traits, conclusion, rfm), _bounded(counts), view)
    return whole


def profile_head(customer_id: str, view: View, conclusion: Conclusion, rfm: Rfm) -> bytes:
    """How the profile begins: what only traits, a tag, the stage or a score change. Not JSON by itself."""
    return _head(customer_id, traits_of(view.parts), conclusion, rfm)


def _head(customer_id: str, traits: dict[str, Json], conclusion: Conclusion, rfm: Rfm) -> bytes:
    r, f, m = rfm.r, rfm.f, rfm.m
    scores = _Rfm(
        rfm.recency_days,
        rfm.frequency,
        rfm.monetary_minor,
        rfm.currency,
        r,
        f,
        m,
        r + f + m,
        rfm.thresholds_version,
    )
    tags = {name: _Tag(tag.since_ms, tag.reason) for name, tag in conclusion.tags.items()}
    head = _Head(customer_id, traits, tags, conclusion.stage, conclusion.stage_since_ms, scores)
    return _JSON.encode(head)[:-1]


def _whole(head: bytes, counts: dict[str, int], view: View) -> bytes:
    shown = _JSON.encode(counts)
    return b'%b,"counts":%b,"first_seen":%d,"last_seen":%d}' % (head, shown, view.first_ms, view.last_ms)


def snapshot_fields(
    view: View, conclusion: Conclusion, rfm: Rfm, untils: dict[str, int] | None = None
) -> dict[str, object]:
    """The fields of a `profile` record that follow from the state.

    customer_id, rev, n, deleted, nodes and updated_at are the caller's. untils: tag → when it ends if nothing happens.
    """
    ends = untils or {}
    traits = traits_of(view.parts)
    encoded_traits = _JSON.encode(traits)
    if len(encoded_traits) > MAX_SHOWN_BYTES:
        encoded_traits = _JSON.encode(_bounded(traits))
    return {
        "first_seen": view.first_ms,
        "last_seen": view.last_ms,
        "stage": conclusion.stage,
        "stage_since": conclusion.stage_since_ms,
        "tags": _JSON.encode(
            [
                {"name": name, "since": tag.since_ms, "until": ends.get(name, 0), "reason": tag.reason}
                for name, tag in sorted(conclusion.tags.items())
            ]
        )
        if conclusion.tags
        else b"[]",
        "traits": encoded_traits,
        "identifiers": sorted({text for part in view.parts for text in part.identifiers})[:MAX_SHOWN_IDENTIFIERS],
        "recency_days": rfm.recency_days,
        "frequency": rfm.frequency,
        "monetary_minor": rfm.monetary_minor,
        "currency": rfm.currency,
        "r": rfm.r,
        "f": rfm.f,
        "m": rfm.m,
        "thresholds_version": rfm.thresholds_version,
        "events": view.events,
    }


def _bounded(fields: dict[str, Json]) -> dict[str, Json]:
    """The first fields by name that together take at most half of MAX_SHOWN_BYTES; a larger one is passed over."""
    kept, left = {}, MAX_SHOWN_BYTES // 2
    for name, value in sorted(fields.items()):
        size = len(_JSON.encode((name, value)))
        if size <= left:
            kept[name], left = value, left - size
    return kept


def traits_of(parts: tuple[Part, ...]) -> dict[str, Json]:
    """Current traits: per field the last writer by (event time, event id, source) over all parts; null hides it.

    Below them what was to be set once: per field the first writer.
    """
    if len(parts) == 1:
        writes = parts[0].writes
    else:
        writes = [write for part in parts for write in part.writes]
        writes.sort(key=lambda write: (write.ms, write.event_id, write.source))
    merged: dict[str, Json] = {}
    once = [write for part in parts for write in part.once]
    if once:
        once.sort(key=lambda write: (write.ms, write.event_id, write.source), reverse=True)
    for write in (*once, *writes):
        merged.update(write.fields)
    if None in merged.values():
        return {name: value for name, value in merged.items() if value is not None}
    return merged


def counts_of(parts: tuple[Part, ...]) -> dict[str, int]:
    """Lifetime count per event name; names beyond the limit of a part stand together under ""."""
    if len(parts) == 1:
        return {name: ring.total for name, ring in parts[0].counters.items()}
    counts: dict[str, int] = {}
    for part in parts:
        for name, ring in part.counters.items():
            counts[name] = counts.get(name, 0) + ring.total
    return counts
