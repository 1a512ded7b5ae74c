"""What must hold when everything is quiet: exact equality with the reference. Every difference is a line of text."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from services.chassis.ids import partition_of, uuid_text
from services.chassis.records import Record
from services.chassis.redis.claim import Verdict, accept
from services.chassis.redis.slots import Slot
from services.identity.adapters import TAG
from services.profile.core.customer_log import CustomerState
from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion, encode
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms
from services.profile.states import Packer
from services.rules.core.state import unpack
from tests.property.customer_log.naive_profile import folded
from tests.property.simulator.pipeline import Server, codec
from tests.property.simulator.reference import Line, Person, Reference, place_of, trigger_id
from tests.property.simulator.rule_book import FORGOTTEN, TIMELY, plain, triggers_of
from tests.unit.profile.profile_builders import CONFIG, CUTS, STICKY

STATES = Packer()
# Topics of a relay, in which no number may mean two things.
NUMBERED = ("touchpoints.resolved", "identity.changes", "profile.changes", "triggers")


class Outcome:
    """What a run has left: Redis, Kafka, and the reference fed with the same touchpoints in the order of the graph."""

    def __init__(
        self, server: Server, logs: dict[tuple[str, int], list[Record]], reference: Reference, partitions: int,
        node_names: dict[str, str], encoded: dict[str, bytes], ages: bool,
    ) -> None:  # fmt: skip
        self.server, self.logs, self.reference, self.partitions = server, logs, reference, partitions
        self.node_names, self.encoded, self.ages = node_names, encoded, ages

    def differences(self) -> list[str]:
        """Empty when all is well."""
        found: list[str] = []
        for check in (
            self._graph, self._resolved, self._changes, self._profiles, self._lines, self._triggers, self._limits,
            self._leftovers, self._dead,
        ):  # fmt: skip
            found += check()
        return found

    def contradictions(self) -> list[str]:
        """What readers of the topics could not make sense of, at any moment."""
        try:
            for topic in NUMBERED:
                self.taken(topic)
        except BrokenError as error:
            return [str(error)]
        return []

    def name(self, customer: str) -> str:
        """A customer as people read it: founding identifier and birth."""
        return self.reference.names.get(customer, customer)

    # -- what readers of a topic take
    def taken(self, topic: str) -> list[Record]:
        """Accepted records of a topic, in order per partition; numbers must be contiguous and never mean two things."""
        found = []
        for number in range(self.partitions):
            seen: dict[str, int] = {}
            contents: dict[bytes, tuple[bytes, bytes | None]] = {}
            for record in self.logs.get((topic, number), []):
                content = (record.key, None if topic.endswith(".dead") else record.value)
                if contents.setdefault(record.headers["seq"], content) != content:
                    raise BrokenError(f"{topic}/{number}: number {record.headers['seq']!r} means two things")
                verdict = accept(seen, record)
                if verdict is Verdict.GAP:
                    raise BrokenError(f"{topic}/{number}: {record.headers['seq']!r} after {seen}: a number is missing")
                if verdict is Verdict.TAKE:
                    found.append(record)
        return found

    # -- identity
    def _graph(self) -> Iterator[str]:
        graph, got_home, got_tombs, strings = self.reference.graph, {}, set(), self.server.strings
        for name, raw in self.encoded.items():
            value = strings.get(f"{TAG}:i:{raw.decode('utf-8', 'surrogateescape')}")
            if value is not None and value[:1] == b"-" and len(value) in (1, 19):
                got_tombs.add(name)
            elif value is not None:
                got_home[name] = self.name(uuid_text(value[:16]))
        want = {x: self.name(customer.id) for x, customer in graph.home.items()}
        yield from unequal("identity: whose identifiers", want, got_home)
        if got_tombs != graph.tombs:
            yield f"identity: erased identifiers: expected {sorted(graph.tombs)}, got {sorted(got_tombs)}"
        links = {frozenset(group) for group in graph.components(graph.home)}
        groups = defaultdict(set)
        for x, customer_name in got_home.items():
            groups[customer_name].add(x)
        if {frozenset(group) for group in groups.values()} != links:
            yield f"identity: customers are not what the accepted links connect: {dict(groups)}"

    def _resolved(self) -> Iterator[str]:
        got = Counter((r.key.decode(), int(r.headers["n"]), r.headers["kind"].decode(), r.headers["src"].decode())
                      for r in self.taken("touchpoints.resolved"))  # fmt: skip
        want = Counter((item.customer, item.n, item.kind, place_of(item)) for item in self.reference.graph.log)
        yield from unequal("touchpoints.resolved: (customer, n, kind, place)", self._named(want), self._named(got))

    def _changes(self) -> Iterator[str]:
        decoder, names = codec("identity_change"), self.node_names
        found = [decoder.decode(record.value) for record in self.taken("identity.changes")]
        numbers = sorted(change["g"] for change in found)
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"identity.changes: g is not contiguous: {numbers}"
        got = Counter((c["g"], c["kind"], c["customer_id"], c["from_id"], tuple(names[n] for n in c["nodes"]))
                      for c in found)  # fmt: skip
        want = Counter((c.g, c.what, c.customer, c.other, c.nodes) for c in self.reference.graph.changes)
        yield from unequal("identity.changes: (g, what, customer, other, nodes)", want, got)

    # -- profile
    def states(self) -> dict[str, CustomerState]:
        """Every customer's state in profile."""
        found = {}
        for number in range(self.partitions):
            prefix = Slot("profile", number).key("c", "")
            for key, value in self.server.strings.items():
                if key.startswith(prefix):
                    found[key[len(prefix) :]] = STATES.decode(value)
        return found

    def _profiles(self) -> Iterator[str]:
        states, people = self.states(), self.reference.people
        for customer in sorted(states.keys() | people.keys(), key=self.name):
            state, person = states.get(customer), people.get(customer)
            if state is None or person is None:
                yield f"profile: customer {self.name(customer)}: {'missing' if state is None else 'should not exist'}"
                continue
            if (state.n, state.held, state.wait) != (person.n, {}, ""):
                held = sorted(state.held)
                yield (
                    f"profile: customer {self.name(customer)} stands at n={state.n}, holds {held}, waits for"
                    f" {state.wait!r}; expected n={person.n}"
                )
            scratch = {node: folded(events) for node, events in person.events.items()}
            parts = {self.node_names.get(node, node): part for node, part in state.parts.items()}
            for node in sorted(scratch.keys() | parts.keys()):
                want, got = scratch.get(node), parts.get(node)
                if want is None or got is None or encode(want) != encode(got):
                    where = f"profile: part {node} of {self.name(customer)}"
                    yield f"{where}: expected {want and want.events} events, got {got and got.events}: {want} ≠ {got}"
            yield from self._conclusion(customer, state, person)

    def _conclusion(self, customer: str, state: CustomerState, person: Person) -> Iterator[str]:
        """What is held true, and when time alone can change it."""
        want, got = person.conclusion, state.conclusion
        due_ms = self.server.zsets.get(Slot("profile", self.partition(customer)).due, {}).get(customer)
        facts = judgement(tuple(person.parts.values()), self.reference.now_ms, CUTS, CONFIG).facts
        if person.parts:
            expected = next_due_ms(facts, CONFIG)
            if due_ms != expected:
                yield f"profile: {self.name(customer)} is due at {due_ms}, expected {expected}"
        if self.ages and got is not None and want is not None:
            want = conclude(facts, [], "", 0, CONFIG)[0]
            # A sticky tag depends on when it was looked at, and so does since when, of who is left without events,
            # too: days may pass between the split and the hand-over.
            want, got = (Conclusion(dict.fromkeys(one.tags.keys() - STICKY), one.stage) for one in (want, got))
        if want != got:
            yield f"profile: {self.name(customer)}: expected {want}, got {got}"

    def partition(self, customer: str) -> int:
        """Where a customer's records go."""
        return partition_of(customer.encode(), self.partitions)

    def _lines(self) -> Iterator[str]:
        decoder, got = codec("profile_change"), defaultdict(list)
        for record in self.taken("profile.changes"):
            line = decoder.decode(record.value)
            if partition_of(record.key, self.partitions) != record.partition:
                yield f"profile.changes: {record.key!r} in partition {record.partition}"
            got[line["customer_id"]].append(line)
        want = self.reference.lines
        for customer in sorted(want.keys() | got.keys(), key=self.name):
            shown = [_shown(line) for line in got.get(customer, []) if not self.ages or line["kind"] != "tick"]
            expected = [_told(line) for line in want.get(customer, []) if not self.ages or line.kind != "tick"]
            if self.ages:
                shown, expected = [line[:3] for line in shown], [line[:3] for line in expected]
            if shown != expected:
                yield f"profile.changes of {self.name(customer)}: expected {expected}, got {shown}"

    # -- rules
    def _triggers(self) -> Iterator[str]:
        decoder, got = codec("trigger"), Counter[tuple[str, str]]()
        ids = Counter[tuple[str, str]]()
        for record in self.taken("triggers"):
            trigger = decoder.decode(record.value)
            ids[trigger["rule"], trigger["trigger_id"]] += 1
            got[trigger["rule"], plain(trigger["anchor"])] += 1
            if trigger["trigger_id"] != trigger_id(trigger["rule"], trigger["anchor"]):
                yield f"triggers: id {trigger['trigger_id']} of {trigger['rule']} at {trigger['anchor']}"
        want = self.reference.triggers
        if self.ages:
            decode = codec("profile_change").decode
            written = triggers_of(decode(record.value) for record in self.taken("profile.changes"))
            yield from unequal("triggers: (rule, anchor), of the changes as written", written, got)
            got, want = (Counter({k: v for k, v in of.items() if k[0] not in TIMELY}) for of in (got, want))
        yield from unequal("triggers: (rule, anchor)", want, got)
        for trigger, count in ids.items():
            if count > 1:
                yield f"triggers: {trigger} was sent {count} times"

    def _limits(self) -> Iterator[str]:
        if self.ages:
            return
        got = {}
        for number in range(self.partitions):
            prefix = Slot("rules", number).key("c", "")
            for key, value in self.server.strings.items():
                if key.startswith(prefix):
                    found = unpack(value)
                    got[self.name(key[len(prefix) :])] = {
                        (r, plain(a)) for r, fires in found.fires.items() for a in fires
                    }
        want = {}
        for customer, person in self.reference.people.items():
            kept = {(rule, anchor) for rule, anchor, _ in person.fires if rule not in FORGOTTEN}
            if kept:
                want[self.name(customer)] = kept
        yield from unequal("rules: what has fired", want, got)

    # -- the rest
    def _leftovers(self) -> Iterator[str]:
        server, existing = self.server, self.reference.people.keys()
        for key in server.strings:
            if ":give:" in key:
                yield f"hand-over left behind: {key}"
        for key, members in server.zsets.items():
            gone = members.keys() - existing
            if gone:
                yield f"{key}: timers of customers that do not exist: {[self.name(one) for one in gone]}"
        for key, fields in server.hashes.items():
            if ":waits:" in key and fields:
                yield f"{key}: {fields}"

    def _dead(self) -> Iterator[str]:
        decoder, got = codec("dead_letter"), Counter[str]()
        for service in ("identity", "profile", "rules"):
            for record in self.taken(f"{service}.dead"):
                letter = decoder.decode(record.value)
                if service == "identity":
                    got[f"identity 1.{letter['partition']}.{letter['offset']}"] += 1
                else:
                    headers = msgspec.json.decode(letter["headers"])
                    got[f"{service} {headers['src']}"] += 1
        want = self.reference.dead + Counter(
            f"identity 1.{touch.place[0]}.{touch.place[1]}" for touch in self.reference.graph.poisoned
        )
        yield from unequal("dead letters", want, got)

    def _named(self, found: Counter[Any]) -> Counter[Any]:
        return Counter({(self.name(key[0]), *key[1:]): count for key, count in found.items()})


class BrokenError(AssertionError):
    """A topic contradicts itself."""


def _shown(line: dict[str, Any]) -> tuple[Any, ...]:
    return (
        line["kind"], line["cause"], line["first"], list(zip(line["tags_added"], line["tag_anchors"], strict=True)),
        line["tags_removed"], line["stage_from"], line["stage_to"],
    )  # fmt: skip


def _told(line: Line) -> tuple[Any, ...]:
    changes = line.changes
    added = [(tag, anchor) for tag, anchor, _ in changes.tags_added]
    return line.kind, line.cause, line.is_first, added, list(changes.tags_removed), changes.stage_from, changes.stage_to


def unequal(what: str, want: Any, got: Any) -> Iterator[str]:
    """One line for every key whose value differs."""
    if want == got:
        return
    for key in sorted(want.keys() | got.keys(), key=str):
        expected, found = want.get(key), got.get(key)
        if expected != found:
            if isinstance(expected, set) and isinstance(found, set):
                expected, found = sorted(expected - found), sorted(found - expected)
            yield f"{what}: {key}: expected {expected}, got {found}"
