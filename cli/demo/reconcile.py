"""The proof: the demo's books against what ClickHouse says. Every check names what differs, with examples."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cli.demo.books import Account, Books
from cli.demo.facts import Facts
from cli.demo.promises import Promise

FINAL = frozenset(("delivered", "failed", "suppressed", "unknown"))
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the proof; it holds when nothing differs."""

    text: str
    differences: tuple[str, ...] = ()


def reconcile(
    books: Books, accounts: list[Account], facts: Facts, node_of: Callable[[str], str], promises: list[Promise]
) -> list[Check]:
    """All checks, in the order of the flow. `node_of`: kind:value → node text."""
    return [
        _events(books, facts),
        _refusals(books),
        _identity(accounts, facts, node_of),
        _money(accounts, facts, node_of),
        _promises(accounts, facts, node_of, promises),
        _triggers(facts),
    ]


def _events(books: Books, facts: Facts) -> Check:
    found = Counter(row["event_id"] for row in facts.events)
    wrong = {
        row["event_id"]
        for row in facts.events
        if (event := books.accepted.get(row["event_id"]))
        and abs(event.order[1] if event.order else 0) != row["amount_minor"]
    }
    return Check(
        f"{len(books.accepted):,} accepted events are in ClickHouse, each exactly once; the {books.copies:,} that"
        " clients sent twice left no trace",
        (
            *_some("acknowledged but not in ClickHouse", books.accepted.keys() - found.keys()),
            *_some("in ClickHouse more than once", (name for name, count in found.items() if count > 1)),
            *_some("in ClickHouse but never acknowledged", found.keys() - books.accepted.keys()),
            *_some("with another amount than was sent", wrong),
        ),
    )  # fmt: skip


def _refusals(books: Books) -> Check:
    return Check(
        f"{books.refused.total():,} events were refused, exactly those that were made wrong, each for its reason",
        tuple(_some("events judged otherwise than expected", books.surprises)),
    )


def _identity(accounts: list[Account], facts: Facts, node_of: Callable[[str], str]) -> Check:
    split, absent, owners = [], [], Counter[str]()
    expected: set[str] = set()
    for account in accounts:
        nodes = {node_of(identifier) for identifier in account.identifiers}
        expected |= nodes
        customers = {facts.nodes[node] for node in nodes if node in facts.nodes}
        absent += [name for name in account.identifiers if node_of(name) not in facts.nodes]
        owners.update(customers)
        if len(customers) > 1:
            split.append(f"{min(account.identifiers)} … is {len(customers)} customers")
    merged = [row["from_id"] for row in facts.changes if row["kind"] == "merged"]
    born = {row["customer_id"] for row in facts.changes if row["kind"] in ("linked", "merged")} | set(merged)
    left = len(born) - len(accounts)
    return Check(
        f"{len(accounts):,} customers, exactly those of the demo's own union-find: {len(born):,} were begun,"
        f" {len(merged):,} merged into another",
        (
            *_some("people that were not merged", split),
            *_some("customers that hold several people", (name for name, count in owners.items() if count > 1)),
            *_some("identifiers that nobody has", absent),
            *_some("identifiers that the demo did not send", facts.nodes.keys() - expected),
            *_some("customers merged away more than once", _repeated(merged)),
            *([] if len(merged) == left else [f"{len(merged)} merges announced, {left} customers merged away"]),
        ),
    )  # fmt: skip


def _money(accounts: list[Account], facts: Facts, node_of: Callable[[str], str]) -> Check:
    profiles = {row["customer_id"]: row for row in facts.profiles}
    wrong = []
    for account in accounts:
        name = min(account.identifiers)
        row = profiles.get(facts.nodes.get(node_of(name), ""))
        wanted = (account.events, len(account.orders), account.net_minor)
        if row is None:
            wrong.append(f"{name} has no profile")
        elif (got := (row["events"], row["frequency"], row["monetary_minor"])) != wanted:
            wrong.append(f"{name}: expected (events, orders, net in fen) {wanted}, got {got}")
    orders, net = sum(len(one.orders) for one in accounts), sum(one.net_minor for one in accounts)
    return Check(
        f"{orders:,} orders and ¥{net / 100:,.2f} of net revenue in a year, equal for every single customer",
        tuple(_some("profiles that differ", wrong)),
    )


def _promises(accounts: list[Account], facts: Facts, node_of: Callable[[str], str], promises: list[Promise]) -> Check:
    """What the rules owe to every customer, from the books alone: a trigger that never came is seen here."""
    fired = Counter((row["rule"], row["customer_id"]) for row in facts.triggers)
    missing: list[str] = []
    surplus: list[str] = []
    due = Counter[str]()
    for account in accounts:
        name = min(account.identifiers)
        customer = facts.nodes.get(node_of(name), "")
        for promise in promises:
            wanted, got = int(promise.is_due(account)), fired[promise.rule, customer]
            due[promise.rule] += wanted
            if got != wanted:
                (missing if got < wanted else surplus).append(f"{promise.rule} of {name}")
    owed = " and ".join(f"{due[promise.rule]:,} {promise.rule}" for promise in promises)
    return Check(
        f"{owed or 'no'} triggers were due by the demo's own books; every customer has exactly his",
        (
            *_some("triggers that were due and did not fire", missing),
            *_some("triggers that fired for customers to whom none was due, or too often", surplus),
        ),
    )


def _triggers(facts: Facts) -> Check:
    wanted = {row["trigger_id"]: row["actions"] for row in facts.triggers}
    ended = Counter(row["trigger_id"] for row in facts.deliveries if row["status"] in FINAL)
    return Check(
        f"{len(wanted):,} triggers fired, each once; all their {len(facts.deliveries):,} deliveries have an outcome",
        (
            *_some("triggers that fired twice", _repeated(row["trigger_id"] for row in facts.triggers)),
            *_some("deliveries listed twice", _repeated(row["delivery_id"] for row in facts.deliveries)),
            *_some(
                "triggers whose deliveries are not all done",
                (f"{name} ({ended[name]} of {count})" for name, count in wanted.items() if ended[name] != count),
            ),
            *_some("triggers with deliveries that ClickHouse does not have", ended.keys() - wanted.keys()),
        ),
    )  # fmt: skip


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _some(what: str, names: Iterable[str]) -> list[str]:
    """One line with a count and examples; no line when there is nothing."""
    found = sorted(names)
    more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
    return [f"{len(found)} {what}: {', '.join(found[:EXAMPLES])}{more}"] if found else []
