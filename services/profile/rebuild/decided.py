"""What stands in profile.changes: what was decided, decision by decision."""

import msgspec

from services.chassis.avro import Codec
from services.chassis.kafka.streams import Sent, Streams
from services.chassis.records import Output
from services.chassis.registry import Registry
from services.profile.codec import CHANGES
from services.profile.rebuild.known import UNKNOWN, version_of
from services.profile.rebuild.lane import Change, Lane


class _Rfm(msgspec.Struct, frozen=True):
    recency_days: int = -1
    thresholds_version: int = 0


class _Profile(msgspec.Struct, frozen=True):
    rfm: _Rfm = _Rfm()


MOVED = "moved"
_profile = msgspec.json.Decoder(_Profile)


class Decided:
    """The changes of every partition, in the order of their numbers."""

    def __init__(self, changes: Streams, registry: Registry) -> None:
        self._sent, self._codec = Sent(changes), Codec("profile_change", registry)

    def next_run(self, lane: Lane) -> list[Change]:
        """The changes of one decision: one moment, ticks first, one version of thresholds."""
        run: list[Change] = []
        version = UNKNOWN
        while (change := lane.ahead or self.change(lane)) is not None:
            lane.ahead = change
            if run and (
                change.changed_at != run[0].changed_at
                or (change.kind == "tick" and run[-1].kind != "tick")
                or (version != change.version and UNKNOWN not in (version, change.version))
            ):
                break
            run.append(change)
            version = change.version if version == UNKNOWN else version
            lane.ahead = None
        lane.run_version = version
        return run

    def change(self, lane: Lane) -> Change | None:
        """The next one; None at the end."""
        found = self._sent.next((CHANGES, lane.partition), str(lane.partition))
        if found is None:
            return None
        number, record = found
        value = self._codec.decode(record.value)
        kind, name = value["kind"], value["customer_id"]
        if kind == "tick" and value["event_id"]:
            kind = MOVED  # the clock of an import, by the event that follows
        rfm = _profile.decode(value["profile"]).rfm if value["profile"] else _Rfm()
        takes = lane.handler.give_key(value["from_id"], value["handoff_id"], name) if kind == "took" else ""
        gives = (
            [lane.handler.give_key(name, p["handoff_id"], p["to_id"]) for p in value["pieces"]]
            if kind == "gave"
            else []
        )
        version = version_of(rfm.recency_days, rfm.thresholds_version)
        return Change(
            number, name, kind, value["cause"], value["changed_at"], version, takes, gives, record.value or b""
        )

    def last(self, lane: Lane) -> int:
        """The number of the last one so far."""
        return self._sent.last((CHANGES, lane.partition), str(lane.partition))

    def difference(self, lane: Lane, change: Change, output: Output) -> str:
        """What a change and what the replay makes of it do not share."""
        there, here = self._codec.decode(change.value), self._codec.decode(output.value)
        fields = {name: (there[name], here[name]) for name in there if there[name] != here[name]}
        return (
            f"{CHANGES} partition {lane.partition} number {change.number} of {change.customer_id}: what was sent and"
            f" what the replay makes differ in {str(fields)[:600]}"
        )
