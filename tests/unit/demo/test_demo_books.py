"""The books: only what ingest answered counts, identifiers join people, orders and money add up."""

from cli.demo.books import Books, write_books
from tests.unit.demo.demo_builders import batch, books, event


def test_a_refused_event_counts_by_its_reason_and_never_as_accepted() -> None:
    written = write_books(
        [batch(event("e1", "user_id:a"), event("e2", fault="event_missing"))], [[(1, "event_missing")]]
    )
    assert (written.sent, list(written.accepted), dict(written.refused)) == (2, ["e1"], {"event_missing": 1})
    assert written.surprises == []


def test_a_batch_without_an_answer_is_not_in_the_books() -> None:
    batches = [batch(event("e1", "user_id:a")), batch(event("e2", "user_id:a"))]
    assert list(write_books(batches, [[]]).accepted) == ["e1"]


def test_a_repeated_batch_counts_as_copies() -> None:
    first = event("e1", "user_id:a")
    written = write_books([batch(first), batch(first, is_repeat=True)], [[], []])
    assert (written.sent, len(written.accepted), written.copies) == (2, 1, 1)


def test_an_unexpected_verdict_is_noted() -> None:
    written = Books()
    written.enter(batch(event("e1", "user_id:a"), event("e2", fault="time_invalid")), [(0, "amount_invalid")])
    assert written.surprises == [
        "e1: expected acceptance, got a refusal (amount_invalid)",
        "e2: expected a refusal (time_invalid), got acceptance",
    ]


def test_whoever_shares_an_identifier_is_one_customer_in_whatever_order() -> None:
    events = [
        event("e1", "anonymous_id:1"),
        event("e2", "anonymous_id:2"),
        event("e3", "user_id:a", "anonymous_id:2"),
        event("e4", "user_id:b"),
        event("e5", "user_id:a", "anonymous_id:1"),
    ]
    for order in (events, events[::-1]):
        found = sorted((sorted(one.identifiers), one.events) for one in books(*order).accounts())
        assert found == [(["anonymous_id:1", "anonymous_id:2", "user_id:a"], 4), (["user_id:b"], 1)]


def test_orders_of_a_year_count_and_refunds_take_away() -> None:
    (account,) = books(
        event("e1", "user_id:a", order=("o1", 500), age_days=363),
        event("e2", "user_id:a", order=("o2", 900), age_days=368),
        event("e3", "user_id:a", order=("o1", -200)),
        event("e4", "user_id:a", order=("o2", -100)),
    ).accounts()
    assert (account.orders, account.net_minor, account.events) == ({"o1"}, 300, 4)
