"""What happened in a run, for people: who claimed what, decided what, died where, which record arrived where."""

from collections.abc import Iterable

from services.chassis.ids import uuid_text
from services.chassis.records import Output, Record, unpack_entry
from services.chassis.testing.interleaving import Interleaving
from services.identity.core import decisions as d
from tests.property.simulator.pipeline import codec


class Teller:
    """Turns commands to Redis and records in Kafka into lines of the world's story."""

    def __init__(self, world: Interleaving) -> None:
        self._world = world
        before = world.broker.on_append

        def appended(record: Record) -> None:
            before(record)
            if "seq" in record.headers:
                world.say(f"{world.current}: {_record(record)} arrives at {record.topic}/{record.partition}")

        world.broker.on_append = appended

    def script(self, keys: list[str], arguments: list[bytes], answer: object) -> None:
        """A script has run."""
        if not keys or (answer == b"OK" and arguments[2] == arguments[3] and not arguments[6]):
            return  # a purge; an owner that trims or asks whether it still is the owner
        _, _, place = keys[0].partition("{")
        service, _, partition = place.replace("}", "").replace(":ledger:", ":").partition(":")
        where = f"{service} {partition.rpartition(':')[2]}"
        self._world.say(f"{self._world.current}: {where}: {_told(arguments, answer)}")


def _told(arguments: list[bytes], answer: object) -> str:
    if isinstance(answer, list) and answer[0] == b"OK" and isinstance(answer[1], list):
        epoch, _, position, _, tries, *_ = answer[1]
        claim = f"claimed, epoch {epoch.decode()}, position {position.decode()}"
        return f"{claim}, {len(answer[2])} unsent, {tries.decode()} tries"
    status = answer[0] if isinstance(answer, list) else answer
    if status == b"NONE":
        return "asked for, not there yet"
    moved = f"{arguments[2].decode()} → {arguments[3].decode()}"
    if status != b"OK":
        return f"batch {arguments[1].decode()} of {moved} is answered {status!r}"
    trimmed = f", {arguments[4].decode()} trimmed" if arguments[4] != b"0" else ""
    if isinstance(answer, list):
        return f"the graph decides {moved}: {_decided(answer[1])}{trimmed}"
    sent = [_output(output) for output in unpack_entry(arguments[6]).outputs] if arguments[6] else []
    return f"applied, {moved}{trimmed}: {', '.join(sent) or 'nothing to send'}"


def _decided(blob: object) -> str:
    if not isinstance(blob, bytes) or not blob:
        return "nothing new"
    first, acts = d.parse_decisions(blob)
    return "; ".join(_act(first, act) for act in acts)


def _act(first: int, act: d.Act) -> str:
    at = f"@{first + act.rel}"
    if isinstance(act, d.Event):
        return f"event {uuid_text(act.customer)} n={act.n} {at}"
    if isinstance(act, d.Give):
        to = ", ".join(
            f"{'all' if not piece.nodes else len(piece.nodes)} to {uuid_text(piece.to)}" for piece in act.pieces
        )
        return f"give of {uuid_text(act.customer)} n={act.n}: {to} {at}"
    if isinstance(act, d.Take):
        return f"take of {uuid_text(act.customer)} n={act.n} from {uuid_text(act.giver)} {at}"
    if isinstance(act, d.Erase):
        return f"erase of {uuid_text(act.customer)} n={act.n} {at}"
    return f"{act.what} g={act.g} {at}" if isinstance(act, d.Change) else f"dead letter {at}"


def _output(output: Output) -> str:
    headers = dict(output.headers)
    return _content(output.topic, output.key, output.value, {k: v for k, v in headers.items() if v is not None})


def _record(record: Record) -> str:
    text = _content(record.topic, record.key, record.value, record.headers)
    return f"{text} as number {record.headers['seq'].decode()}"


def _content(topic: str, key: bytes, value: bytes | None, headers: dict[str, bytes]) -> str:
    name = key.decode("utf-8", "replace")
    if topic == "touchpoints.resolved":
        return f"{headers['kind'].decode()} {name} n={headers['n'].decode()}"
    if topic == "profile.changes":
        line = codec("profile_change").decode(value)
        return f"{line['kind']} {name} of {line['cause']}"
    if topic == "triggers":
        trigger = codec("trigger").decode(value)
        return f"trigger {trigger['rule']} at {trigger['anchor']} for {name}"
    if topic == "profiles":
        return f"profile of {name}"
    if topic == "identity.changes":
        return f"{codec('identity_change').decode(value)['kind']} {name}"
    return f"{topic} of {name}"


def readable(lines: Iterable[str], names: dict[str, str]) -> list[str]:
    """With customers by their names."""
    found = []
    for line in lines:
        for customer, name in names.items():
            line = line.replace(customer, f"[{name}]")
        found.append(line)
    return found
