"""What measures add up of orders that have an id: each order once, on its day, nothing of a cancelled one.

`tally_order` keeps what each telling of an order adds, `rings_of` says what that comes to. The rules are those of money
(`settle`): an order told again counts as told last, its lines add up, and what the whole order says beats its lines. So
the same events in any order of arrival, over any nodes, come to the same.
"""

from collections.abc import Iterable, Mapping, Sequence

from services.profile.core.config import ProfileConfig
from services.profile.core.orders import order_key
from services.profile.core.settle import ring_of
from services.profile.core.state import Book, Event, Part, Ring, Tally, Telling

# Place of a measure → what is added up.
Amounts = dict[int, int]


def tally_order(part: Part, event: Event, amounts: Mapping[int, int], is_line: bool) -> None:
    """What measures add up of one purchase event with an order id, which the book of the part has already."""
    assert part.book is not None
    key, at, horizon = order_key(event.order_id, event.event_id), event.occurred_at, part.book.horizon
    if horizon is not None and (at, key) <= horizon:
        return
    if part.tally is None:
        part.tally = Tally()
    telling = _telling(at, amounts)
    if is_line:
        _add_line(part.tally.lines.setdefault(key, []), telling)
    else:
        known = part.tally.told.get(key)
        part.tally.told[key] = telling if known is None else _last(known, telling)


def forget(tally: Tally, horizon: tuple[int, str]) -> Tally | None:
    """The tally without what the book has dropped (see `orders`); None when nothing is left, as if it never was."""
    tally.told = {key: telling for key, telling in tally.told.items() if (telling[0], key) > horizon}
    cut = {key: [line for line in lines if (line[0], key) > horizon] for key, lines in tally.lines.items()}
    tally.lines = {key: lines for key, lines in cut.items() if lines}
    return tally if tally.told or tally.lines else None


def rings_of(parts: Sequence[Part], config: ProfileConfig) -> dict[str, Ring]:
    """Measure → its sum per day over the orders of all parts, as far as orders are kept; no day without a sum.

    Made once per order event: what `settle` remembers of a book is another object after its next one.
    """
    version = config.catalogue.measures_version
    tallies = [part.tally for part in parts if part.tally is not None and part.measured == version]
    if not tallies:
        return {}
    books = [part.book for part in parts if part.book is not None]
    settled = [book.__dict__.get("settled") for book in books]
    memory = tallies[0].__dict__
    known = memory.get("rings")
    if known is None or known[0] is not config or known[1] != settled:
        known = memory["rings"] = (config, settled, _rings(tallies, books, config))
    rings: dict[str, Ring] = known[2]
    return rings


def _rings(tallies: list[Tally], books: list[Book], config: ProfileConfig) -> dict[str, Ring]:
    told: dict[str, Telling] = {}
    for tally in tallies:
        for key, one in tally.told.items():
            told[key] = _last(told[key], one) if key in told else one
    lines = {key: _sums(key, tallies) for tally in tallies for key in tally.lines}
    sums: dict[str, dict[int, int]] = {}
    for key, (last_ms, whole_ms) in _moments(books, told.keys() | lines.keys()).items():
        telling, of_lines, day = told.get(key), lines.get(key, {}), config.calendar.day(last_ms)
        # Where another telling is the last one, nothing of it counts.
        whole = {} if telling is None or telling[0] != whole_ms else _amounts(telling)
        for place in whole.keys() | of_lines.keys():
            measure = config.catalogue.tallied[place]
            amount = whole.get(place) or (of_lines[place] if measure.sum else 1)
            days = sums.setdefault(measure.name, {})
            days[day] = days.get(day, 0) + amount
    return {name: ring_of(days) for name, days in sums.items()}


def _moments(books: list[Book], keys: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Order → (ms of its last purchase event, of the last that told it whole or 0), of those not cancelled."""
    found: dict[str, tuple[int, int]] = {}
    for key in keys:
        if any(key in book.cancelled for book in books):
            continue
        whole = [orders[key][0] for book in books for orders in book.bought.values() if key in orders]
        last = whole + [moments[key][-2] for book in books for moments in book.lines.values() if key in moments]
        if last:
            found[key] = max(last), max(whole, default=0)
    return found


def _telling(at: int, amounts: Mapping[int, int]) -> Telling:
    return [at, *(number for place in sorted(amounts) for number in (place, amounts[place]))]


def _amounts(telling: Telling) -> Amounts:
    return dict(zip(telling[1::2], telling[2::2], strict=True))


def _last(one: Telling, other: Telling) -> Telling:
    """The later telling; of one moment the larger amounts, which needs no event id."""
    if one[0] != other[0]:
        return max(one, other)
    mine, theirs = _amounts(one), _amounts(other)
    return _telling(one[0], {place: max(mine.get(place, 0), theirs.get(place, 0)) for place in mine.keys() | theirs})


def _add_line(lines: list[Telling], line: Telling) -> None:
    """One more line, added up with those of its moment."""
    index = len(lines)
    while index and lines[index - 1][0] > line[0]:
        index -= 1
    if index and lines[index - 1][0] == line[0]:
        mine, more = _amounts(lines[index - 1]), _amounts(line)
        sums = {place: mine.get(place, 0) + more.get(place, 0) for place in mine.keys() | more}
        lines[index - 1] = _telling(line[0], sums)
    else:
        lines.insert(index, line)


def _sums(key: str, tallies: list[Tally]) -> Amounts:
    sums: Amounts = {}
    for tally in tallies:
        for line in tally.lines.get(key, ()):
            for place, amount in _amounts(line).items():
                sums[place] = sums.get(place, 0) + amount
    return sums
