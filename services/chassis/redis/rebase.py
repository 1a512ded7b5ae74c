"""Point drained ledgers at another Kafka: positions start at its beginning, a new log generation keeps places unique.

For the local stack, whose broker is in memory, and for operators who move to a new cluster after draining the old one.
"""

from collections.abc import Mapping

import redis

from services.chassis.errors import Fatal
from services.chassis.redis.inspect import foreign
from services.chassis.redis.ledger import script_text


def rebase(
    client: "redis.Redis", cluster_id: str, topic_ids: Mapping[str, str], firsts: Mapping[tuple[str, int], int]
) -> int:
    """Rebase every ledger whose topic is in topic_ids (name → id on the new cluster); returns how many moved.

    Each begins at the oldest offset of its partition there (`firsts`), 0 where the topic has none. One that already
    stands on that log is left alone. Raises Fatal when another still has unsent outputs or waiting customers: the old
    log is then not drained, and leaving it would lose what they wait for.
    """
    script = client.register_script(script_text("services.chassis.redis", "rebase.lua"))
    slots = foreign(client, cluster_id, topic_ids)
    busy = [slot.ledger for slot, _ in slots if client.llen(slot.outbox) or client.hlen(slot.waits)]
    if busy:
        raise Fatal(f"ledgers {busy} are not drained: run the services on the old Kafka until `touchstream wait-idle`")
    answers = [
        script(
            keys=[slot.ledger, slot.outbox, slot.waits],
            args=[cluster_id, topic_ids[topic], firsts.get((topic, slot.partition), 0)],
        )
        for slot, topic in slots
    ]
    if b"BUSY" in answers:
        raise Fatal("a service is still running: stop all services before ledgers are rebased")
    return answers.count(b"OK")
