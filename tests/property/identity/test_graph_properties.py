"""resolve.lua, on a real Valkey and through production's worker, against a machine that does one thing at a time."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest
import redis
from hypothesis import event, given, settings
from hypothesis import strategies as st

from services.chassis.errors import Fenced
from services.chassis.records import Entry, Output
from services.identity.core.policy import Policy
from tests.conformance.conftest import HookedRedis, Network
from tests.property.identity.graph_lab import HOUR_MS, PARTITIONS, GraphLab, naive_twin, name_customer, policy
from tests.property.identity.naive_graph import NaiveGraph, Touch

IDS = [
    *(f"user_id:{i}" for i in range(3)), *(f"phone:{i}" for i in range(3)), *(f"device_id:{i}" for i in range(3)),
    *(f"anonymous_id:{i}" for i in range(5)), "email:0", "card:0",
]  # fmt: skip
# Of all, or two people with a number of which only one can have it.
identifiers = st.one_of(
    st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(["user_id:0", "user_id:1", "phone:0"]), min_size=1, max_size=2, unique=True),
).map(tuple)
kinds = st.sampled_from(["event"] * 14 + ["unlink"] * 3 + ["erase", "poison", "link", "link", "refuse", "release"])
# A message id that comes again: the same number; hours that pass before; which partition; a public key; of an unlink:
# one link only, and who the customer must be; what is verified; a historical import.
drafts = st.tuples(
    kinds, identifiers, st.integers(0, 60), st.sampled_from([0, 0, 0, 1, 3, 13]),
    st.integers(0, PARTITIONS - 1), st.booleans(), st.booleans(), st.sampled_from(["", "", "", *IDS[:6]]),
    st.sampled_from([(), ("phone",), ("phone", "email")]), st.sampled_from([False, False, False, True]),
)  # fmt: skip
faults = st.sampled_from(["", "", "", "lose answer", "lose request", "crash", "zombie", "purge"])


@dataclass
class Story:
    """Touchpoints in the order of the graph, in batches of one partition each, with what goes wrong at each batch."""

    batches: list[list[Touch]]
    faults: list[str]


@st.composite
def stories(draw: st.DrawFn, most: int = 30) -> Story:
    """Batches of up to five; log times go up within a partition, partitions are up to five hours apart."""
    offsets, lag_ms = [0] * PARTITIONS, [draw(st.integers(0, 5)) * HOUR_MS for _ in range(PARTITIONS)]
    now_ms, batches, linked = 100 * HOUR_MS, [], []
    for batch in draw(st.lists(st.lists(drafts, min_size=1, max_size=5), min_size=1, max_size=most)):
        number, touches = batch[0][4], []
        for kind, ids, message, hours, _, is_public, is_pair, founder, *more in batch:
            if kind in ("link", "refuse"):
                ids = (*ids, *(x for x in IDS if x not in ids))[:2]
            if kind == "release":
                ids = (f"customer:{name_customer(ids[0], 0)}",)
            now_ms += hours * HOUR_MS + 1
            place = number, offsets[number]
            offsets[number] += 1
            if kind == "unlink" and is_pair and linked:  # what was never linked is seldom asked for
                ids = linked[message % len(linked)][:: -1 if is_public else 1]
            linked += [(ids[0], x) for x in ids[1:] if kind in ("event", "link")]
            log_ms, is_pair = now_ms - lag_ms[number], is_pair and len(ids) > 1
            touches.append(Touch(kind, ids, f"m{message}", place, log_ms, is_public, is_pair, founder, *more))
        batches.append(touches)
    return Story(batches, draw(st.lists(faults, min_size=len(batches), max_size=len(batches))))


def connect(url: str, network: Network | None = None) -> "redis.Redis":
    client = HookedRedis.from_url(url)
    client.flushall()
    client.hook = network
    return client


def tell(lab: GraphLab, network: Network, story: Story) -> None:
    """Let the graph decide a story, with its accidents."""
    for batch, fault in zip(story.batches, story.faults, strict=True):
        number = batch[0].place[0]
        for touch in batch:
            lab.append(touch)
        network.lose_answers, network.lose_requests = int(fault == "lose answer"), int(fault == "lose request")
        if fault == "purge":
            lab.graph.purge(PARTITIONS)
        zombie = lab.workers[number], lab.claims[number]
        if fault == "zombie":
            lab.claim(number)
            records = lab.read_back(number, zombie[1].position, len(lab.log[number]) - 1)
            with pytest.raises(Fenced):
                zombie[0].step(records, {}, len(lab.log[number]), records[-1].log_ms, 1)
        entry = lab.step(number)
        if fault == "crash":  # after the apply, before anything was sent: the next owner sends the same
            assert [outputs_of(one) for one in lab.claim(number)] == [outputs_of(entry)] * bool(outputs_of(entry))
        lab.take(entry)


def outputs_of(entry: Entry | None) -> list[Output]:
    """What is sent; a dead letter says when and why it was made, which a new owner does not know."""
    outputs = entry.outputs if entry is not None else []
    return [Output(o.topic, o.partition, o.key, None) if o.topic.endswith(".dead") else o for o in outputs]


def naive(policy_: Policy, story: Story) -> NaiveGraph:
    graph = naive_twin(policy_)
    for batch in story.batches:
        for touch in batch:
            graph.step(touch)
    return graph


def check_same(lab: GraphLab, graph: NaiveGraph) -> None:
    items, changes, dead = lab.said()
    assert items == graph.log
    assert changes == graph.changes
    assert dead == [touch.place for touch in graph.poisoned]
    home, customers, tombs = lab.stored()
    assert home == {x: customer.id for x, customer in graph.home.items()}
    assert customers == {customer.id: (customer.n, set(customer.ids)) for customer in graph.customers()}
    assert tombs == graph.tombs


def check_promises(lab: GraphLab) -> None:
    """What must hold of any story, said without the naive graph."""
    items, changes, _ = lab.said()
    numbers, gives, takes, ends = defaultdict(list), Counter(), Counter(), {}
    for item in items:
        assert item.customer not in ends, "a log goes on after its end"
        numbers[item.customer].append(item.n)
        for k, to, nodes in item.pieces:
            gives[item.touch.place, k, item.customer, to] += 1
            if not nodes:
                ends[item.customer] = item.kind
        if item.kind == "take":
            takes[item.touch.place, item.k, item.giver, item.customer] += 1
        if item.kind == "erase":
            ends[item.customer] = item.kind
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values()), "numbers without holes"
    assert gives == takes
    assert set(gives.values()) <= {1}
    assert [change.g for change in changes] == list(range(1, len(changes) + 1))
    merges = [(c.touch.place, c.k, c.other, c.customer) for c in changes if c.what == "merged"]
    whole = [(item.touch.place, k, item.customer, to) for item in items for k, to, nodes in item.pieces if not nodes]
    assert merges == whole, "every merge is announced once"


@settings(max_examples=150)
@given(
    story=stories(),
    size=st.sampled_from([4, 1_000]),
    window_h=st.sampled_from([1, 10, 10_000]),
    has_limits=st.booleans(),
)
def test_the_graph_decides_like_one_machine(
    graph_url: str, story: Story, size: int, window_h: int, has_limits: bool
) -> None:
    network = Network()
    lab = GraphLab(connect(graph_url, network), policy(size, window_h, has_limits=has_limits))
    tell(lab, network, story)
    graph = naive(lab.policy, story)
    for what in {change.what for change in graph.changes} | {item.kind for item in graph.log}:
        event(what)
    event(f"duplicates: {graph.duplicates > 0}, erased dropped: {graph.dropped > 0}")
    check_promises(lab)
    check_same(lab, graph)
    lab.client.close()


@settings(max_examples=40)
@given(story=stories(), pieces=st.integers(1, 3))
def test_where_a_batch_ends_makes_no_difference(graph_url: str, story: Story, pieces: int) -> None:
    whole = [[touch] for batch in story.batches for touch in batch]
    if pieces > 1:  # as large as the order allows: runs of one partition
        whole = []
        for batch in story.batches:
            if whole and whole[-1][0].place[0] == batch[0].place[0]:
                whole[-1] = whole[-1] + batch
            else:
                whole.append(list(batch))
    results = []
    for batches in (story.batches, whole):
        network = Network()
        lab = GraphLab(connect(graph_url, network), policy(6))
        tell(lab, network, Story(batches, [""] * len(batches)))
        results.append((lab.said(), uncut(outputs_of(Entry(lab.sent))), without_batches(lab.dump())))
        lab.client.close()
    assert results[0] == results[1]


def uncut(outputs: list[Output]) -> list[Output]:
    """The outputs without the header that names their batch."""
    return [Output(o.topic, o.partition, o.key, o.value, [h for h in o.headers if h[0] != "batch"]) for o in outputs]


def without_batches(graph: dict[bytes, object]) -> dict[bytes, object]:
    """The graph without the number of batches."""
    for value in graph.values():
        if isinstance(value, dict):
            value.pop(b"batches", None)
    return graph


def test_a_batch_of_thousands_is_decided_like_single_ones(graph_url: str) -> None:
    """More identifiers than a Lua call takes arguments, customers at their largest, a merge of two large ones."""
    lab = GraphLab(connect(graph_url), policy(500))
    asked = [
        *((f"device_id:x{i}", f"user_id:{i}") for i in range(1_800)),
        *(("phone:0", f"device_id:{i}") for i in range(300)),
        *(("phone:1", f"device_id:{i}") for i in range(400, 550)),
        ("device_id:0", "device_id:400"),
        *(("phone:1", f"device_id:{i}") for i in range(600, 700)),
        ("user_id:0", "device_id:x1"),
    ]
    touches = [Touch("event", ids, f"m{i}", (0, i)) for i, ids in enumerate(asked)]
    story = Story([touches[:2_200], touches[2_200:]], ["", ""])
    tell(lab, Network(), story)
    graph = naive_twin(lab.policy)
    graph.checks_links = False
    for batch in story.batches:
        for touch in batch:
            graph.step(touch)
    check_promises(lab)
    check_same(lab, graph)
    assert {change.what for change in graph.changes} == {"linked", "merged", "blocked", "conflict", "quarantined"}
    lab.client.close()
