"""The cluster's brokers by name (`kafka-1`), for faults; heal() brings back whatever is down."""

from pathlib import Path

from deploy.kafka.cluster import Cluster


class Brokers:
    """Main thread only: starting a broker is."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._numbers = {f"kafka-{number}": number for number in cluster.numbers}
        self._frozen: set[str] = set()

    @property
    def names(self) -> list[str]:
        """kafka-1 …"""
        return list(self._numbers)

    def is_running(self, name: str) -> bool:
        """Whether its process is there, frozen or not."""
        return self._cluster.is_running(self._numbers[name])

    def leader_of(self, topic: str, partition: int) -> str:
        """The name of the broker that leads a partition; empty while none does."""
        number = self._cluster.leader_of(topic, partition)
        return f"kafka-{number}" if number > 0 else ""

    def log(self, name: str) -> Path:
        """Its log."""
        return self._cluster.log(self._numbers[name])

    def kill(self, name: str) -> None:
        """kill -9."""
        if self.is_running(name):
            self._cluster.kill(self._numbers[name])
        self._frozen.discard(name)

    def term(self, name: str) -> None:
        """SIGTERM, and wait."""
        if self.is_running(name):
            self._cluster.term(self._numbers[name])

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        if self.is_running(name):
            self._cluster.stop(self._numbers[name])
            self._frozen.add(name)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self._cluster.cont(self._numbers[name])
        self._frozen.discard(name)

    def start_again(self, name: str) -> None:
        """Start it on its data; does not wait."""
        self._cluster.start_again(self._numbers[name], wait=False)

    def wait_ready(self, name: str, timeout_s: float) -> None:
        """Wait until it takes requests."""
        self._cluster.wait_ready(self._numbers[name], timeout_s)

    def heal(self) -> None:
        """Frozen ones go on, dead ones are started; does not wait for them."""
        for name in self._numbers:
            if name in self._frozen:
                self.thaw(name)
            if not self.is_running(name):
                self.start_again(name)
