"""What cannot be read and was put there on purpose: left out of what the oracle sees, and judged here."""

from collections import Counter
from collections.abc import Iterable

from services.chassis.avro import Codec
from tests.chaos.rig.observe import Channels
from tests.chaos.rig.tail import Seen

POISON = b"\xff no Avro: "
POISON_TOPIC = "triggers"  # read by archive and notify
Place = tuple[str, int, int]
_dead_letter = Codec("dead_letter")


class WithoutPoison(Channels):
    """Leaves poison and its dead letters out. archive keeps each once; notify, whose have no numbers, at least once."""

    def __init__(self, poisoned: list[Place]) -> None:
        super().__init__()
        self._poisoned = poisoned

    def sift(self, records: Iterable[Seen]) -> tuple[list[Seen], list[str]]:
        """See Channels; what was poisoned so far is judged and forgotten."""
        sifted, wrong = super().sift(records)
        kept, found = [], Counter[tuple[str, Place]]()
        for seen in sifted:
            letter = _dead_letter.decode(seen.value) if seen.topic.endswith(".dead") else {"value": b""}
            if bytes(letter["value"]).startswith(POISON):
                place = (str(letter["topic"]), int(letter["partition"]), int(letter["offset"]))
                found[seen.topic, place] += 1
            elif seen.topic != POISON_TOPIC or not (seen.value or b"").startswith(POISON):
                kept.append(seen)
        for place in self._poisoned:
            archived, notified = found["archive.dead", place], found["notify.dead", place]
            if archived != 1 or notified < 1:
                wrong.append(f"poison {place}: {archived} times in archive.dead, {notified} times in notify.dead")
        self._poisoned.clear()
        return kept, wrong
