"""Who decides anew: identity's own workers, under one policy, also what is known of a request only by its digests."""

from services.chassis.errors import Fatal
from services.chassis.records import Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.registry import Registry
from services.identity.adapters import Encoder, Graph
from services.identity.core.links import Asked
from services.identity.core.policy import Policy
from services.identity.handler import IdentityWorker, Json, Writer
from services.identity.rebuild.eras import Era
from services.identity.rebuild.survey import TOPIC


class Asking(IdentityWorker):
    """The worker, for requests too of which only the identifier's digest is known."""

    requests: dict[int, tuple[Asked, Json]]

    def _ask(self, record: Record, rel: int, decoded: dict[int, Json]) -> Asked:
        known = self.requests.pop(record.offset, None)
        if known is None:
            return super()._ask(record, rel, decoded)
        decoded[rel] = known[1]
        return known[0]


class Under:
    """Whoever decides under one policy: the graph, and a worker for each partition."""

    def __init__(
        self, ledger: Ledger, policy: Policy, era: Era | None, key: bytes, registry: Registry, claims: dict[int, Claim]
    ) -> None:
        self.policy, self.encode = policy, Encoder(policy, key).encode
        writer = Writer(policy, len(claims), registry)
        self.graph = Graph(ledger, policy, is_told=era is not None, since=era.since if era else None)
        self.workers = {
            p: Asking(claim, ledger, self.graph, writer, policy, self.encode, no_read_back)
            for p, claim in claims.items()
        }
        for worker in self.workers.values():
            worker.requests = {}


def no_read_back(partition: int, first: int, last: int) -> list[Record]:
    """A rebuild has decided everything itself. Raises Fatal."""
    raise Fatal(f"{TOPIC} partition {partition}: a rebuild restores no outbox")
