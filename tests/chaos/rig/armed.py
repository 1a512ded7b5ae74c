"""A deployment whose services are born by fork, each life with the failpoints that somebody is asked for."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from deploy.local.child import Child
from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.member import Member
from tests.chaos.rig.nursery import Nursery

SESSION = "TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS"
# Dead workers are missed after two seconds, and what comes now and then comes every one to three.
ENVIRON = {
    SESSION: "2000",
    "TOUCHSTREAM_IDENTITY_PURGE_INTERVAL_S": "1",
    # Every new version of them looks at all customers again.
    "TOUCHSTREAM_PROFILE_THRESHOLDS_INTERVAL_S": "3",
    "TOUCHSTREAM_RULES_RELOAD_INTERVAL_MS": "300",
}


class Armed(Deployment):
    """A deployment that asks with which failpoints a service is to be started."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, environ=ENVIRON, with_proxies=False)
        self.ask: Callable[[str, int], Mapping[str, str]] | None = None
        self._nurseries: dict[str, Nursery] = {}

    def tick(self) -> None:
        """As ever; but who is down comes back at once, and as `ask` says."""
        for name, member in self._members.items():
            if name not in self.places or self.ask is None:
                member.tick()
                continue
            if member.child is not None:
                member.tick()
            if member.child is None and member.keep_up:
                self._bear(name, member, self.ask(name, member.ends[-1]))

    def _bear(self, name: str, member: Member, environ: Mapping[str, str]) -> None:
        module, log = member.module, self.log(name)
        process = self._nurseries[module].birth({**member.environ, **environ}, log)
        member.child = Child(name, cast(Any, process), log, member.run_dir)
        member.starts += 1
        member.keep_up, member.is_frozen = True, False

    def _member(self, name: str, *others: Any, **more: Any) -> Member:
        member = super()._member(name, *others, **more)
        if name.startswith("notify"):
            # Its heartbeats wait for its event loop: two seconds are too few on a busy machine.
            member.environ = {**member.environ, SESSION: "6000"}
        return member

    def start(self) -> None:
        """As ever, and everything is imported for the lives to come."""
        super().start()
        modules = {self._members[name].module: self._members[name].environ for name in self.places}
        self._nurseries = {module: Nursery(module, environ) for module, environ in modules.items()}
        for nursery in self._nurseries.values():
            nursery.wait()

    def close(self) -> None:
        """As ever, and nobody is born any more."""
        super().close()
        for nursery in self._nurseries.values():
            nursery.close()

    def send(self, name: str, number: signal.Signals) -> None:
        """A signal to a service's process, if it is there."""
        child = self._members[name].child
        if child is not None and child.process.poll() is None:
            os.kill(child.pid, number)

    def environ(self, name: str) -> Mapping[str, str]:
        """What a process is started with."""
        return self._members[name].environ

    def is_ready(self, name: str) -> bool:
        """Whether it says that it can work."""
        return self._members[name].is_ready()
