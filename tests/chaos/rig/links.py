"""A proxy between every service process and every backend it talks to."""

from collections.abc import Mapping

from deploy.kafka.cluster import Cluster
from tests.chaos.rig.answers import KafkaFrames
from tests.chaos.rig.processes import BACKENDS, CLICKHOUSE, KAFKA, REDIS, Place
from tests.chaos.rig.proxy import Address, Proxy


class Links:
    """`told`: service process → broker → the port that broker tells it; empty: no proxies, straight to the backends."""

    def __init__(
        self, told: Mapping[str, Mapping[int, int]], cluster: Cluster, redis: Address, clickhouse: Address
    ) -> None:
        self._told, self._cluster = told, cluster
        self._direct = {REDIS: redis, CLICKHOUSE: clickhouse}
        self.proxies: dict[tuple[str, str], Proxy] = {}

    def addresses(self, place: Place) -> dict[str, str]:
        """Backend → what the process connects to. Opens its proxies; once a process, after the cluster's start."""
        if place.name not in self._told:
            return {KAFKA: self._cluster.bootstrap, **{name: _text(at) for name, at in self._direct.items()}}
        found = {KAFKA: self._cluster.link_bootstrap(place.name)}
        for backend in BACKENDS[place.service]:
            if backend == KAFKA:
                self.proxies[place.name, KAFKA] = self._to_brokers(place.name)
                continue
            proxy = Proxy(0, self._direct[backend], name=f"{place.name}:{backend}")
            self.proxies[place.name, backend] = proxy
            found[backend] = _text(("127.0.0.1", proxy.port))
        return found

    def _to_brokers(self, name: str) -> Proxy:
        """One proxy with a way to each broker, at the port which that broker tells its clients."""
        ways = [(told, ("127.0.0.1", self._cluster.link_port(name, n))) for n, told in self._told[name].items()]
        proxy = Proxy(*ways[0], KafkaFrames, f"{name}:{KAFKA}")
        for told, target in ways[1:]:
            proxy.also(told, target)
        return proxy

    def heal(self) -> None:
        """No fault on any link."""
        for proxy in self.proxies.values():
            proxy.heal()

    def close(self) -> None:
        """Stop listening."""
        for proxy in self.proxies.values():
            proxy.close()


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
