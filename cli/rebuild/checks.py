"""What must hold before anything is written: nobody works, Redis is empty, and the topics still hold what is needed."""

from dataclasses import dataclass

from services.chassis.errors import Fatal
from services.chassis.kafka import offsets
from services.chassis.kafka.reader import Place
from services.chassis.marks import Mark
from services.chassis.redis.ledger import Ledger
from services.chassis.settings import SharedSettings
from services.chassis.topics import load_topics
from services.identity.rebuild import survey

SERVICES = ("identity", "profile", "rules", "archive", "notify")
GROUP = "touchstream-"
# What services ask of Redis at least twice a second, also when nothing comes.
WORK = frozenset(("evalsha", "eval", "hget", "zrange", "mget", "sadd"))
SILENT_S = 5


@dataclass(frozen=True, slots=True)
class Log:
    """Kafka as it is: its identity, oldest and next offsets, and how far each service had worked and sent."""

    cluster_id: str
    topic_ids: dict[str, str]
    firsts: dict[Place, int]
    ends: dict[Place, int]
    worked: dict[tuple[str, Place], int]
    partitions: int
    generation: int  # of the log, as it stands in the places of touchpoints

    def worked_by(self, service: str, topic: str) -> dict[int, int]:
        """Partition → committed offset of a service's group."""
        return {p: at for (name, (of, p)), at in self.worked.items() if (name, of) == (service, topic)}

    def oldest(self, topic: str) -> list[int]:
        """The oldest offset of every partition of a topic, in order."""
        return [self.firsts[topic, p] for p in range(self.partitions)]

    def is_whole(self, *topics: str) -> bool:
        """Whether retention has taken nothing of these topics."""
        return not any(any(self.oldest(topic)) for topic in topics)

    def records(self, *topics: str) -> int:
        """How many offsets these topics span."""
        return sum(self.ends.get(place, at) - at for place, at in self.firsts.items() if place[0] in topics)


def assert_idle(settings: SharedSettings, ledger: Ledger) -> None:
    """Raises Fatal when a service is in its group, or when the broker does not say and somebody works on Redis."""
    members = offsets.group_members(settings.kafka_bootstrap, [GROUP + name for name in SERVICES])
    if members is not None:
        busy = sorted(name for name, count in members.items() if count)
        if busy:
            raise Fatal(f"services are running ({', '.join(busy)} have members): stop all services but ingest first")
        return
    me = ledger.client.client_id()
    working = [
        f"{one['addr']} {one['cmd']}"
        for one in ledger.client.client_list()
        if int(one["id"]) != me and one["cmd"] in WORK and int(one["idle"]) <= SILENT_S
    ]
    if working:
        raise Fatal(
            "the broker does not say who is in its groups, and somebody works on this Redis"
            f" ({', '.join(working[:3])}): stop all services but ingest first"
        )


def read_log(settings: SharedSettings) -> Log:
    """What Kafka says. Raises Retriable, and Fatal when a topic is missing or nothing was ever written."""
    topics, bootstrap = list(load_topics()), settings.kafka_bootstrap
    cluster_id, topic_ids = offsets.log_identity(bootstrap, topics)
    firsts, ends = offsets.first_offsets(bootstrap, topics), offsets.end_offsets(bootstrap, topics)
    worked = {
        (name, place): _sent(name, mark)
        for name in SERVICES
        for place, mark in offsets.group_marks(bootstrap, GROUP + name, _inputs(name)).items()
    }
    partitions = sum(1 for topic, _ in firsts if topic == "touchpoints")
    generation = survey.generation_of(bootstrap, partitions, firsts)
    return Log(cluster_id, topic_ids, firsts, ends, worked, partitions, generation)


def _sent(service: str, mark: Mark) -> int:
    """The offset before which all is worked and sent: a group is told of a batch before anything of it is sent.

    notify tells afterwards; so did older releases, and a broker may keep no more than the offset.
    """
    if mark.sent < 0 and service == "archive":
        return mark.position  # inserted it is
    return max(mark.sent, 0) if mark.batch else mark.position


def _inputs(service: str) -> list[str]:
    return [topic.name for topic in load_topics().values() if service in topic.read_by]
