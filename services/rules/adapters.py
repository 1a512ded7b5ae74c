"""The outside of rules: the folder of rule files, records on the wire, and the names of hand-over keys."""

import threading
from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path

import msgspec

from services.chassis.avro import Codec
from services.chassis.errors import Fatal, Poison
from services.chassis.failpoints import fp
from services.chassis.health import Health
from services.chassis.ids import partition_of, stable_id
from services.chassis.logs import get_logger
from services.chassis.records import Output
from services.chassis.redis.slots import Slot
from services.chassis.registry import open_registry
from services.rules import metrics
from services.rules.core.evaluate import RuleIndex
from services.rules.core.model import Change, Fire, change_of
from services.rules.core.syntax import RulesRefused, parse_rules

SERVICE, CHANGES, TRIGGERS = "rules", "profile.changes", "triggers"
Fingerprint = tuple[tuple[str, int, int, int], ...]


def rule_files(folder: Path) -> list[Path]:
    """The rule files of a folder: *.yaml and *.yml, not hidden, not in folders below. Raises OSError."""
    return sorted(
        path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
    )


def read_folder(folder: Path) -> dict[str, bytes]:
    """Path → content of every rule file. Raises OSError."""
    fp("before_rules_read", OSError)
    found = {str(path): path.read_bytes() for path in rule_files(folder)}
    fp("after_rules_read", OSError)
    return found


def fingerprint(folder: Path) -> Fingerprint:
    """What changes when a file is written, added, removed or replaced (also through a symlink). Raises OSError."""
    stats = [(path.name, path.stat()) for path in rule_files(folder)]
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)


class RulesFolder:
    """The rules in force. A new version of the folder replaces them whole or, when anything is wrong in it, not at all.

    `current` is swapped in one assignment: whoever reads it once works with one version. Raises Fatal from the
    constructor, when there is no good version to begin with.
    """

    def __init__(self, folder: str, zone: tzinfo, health: Health) -> None:
        self._folder, self._zone, self._health = Path(folder), zone, health
        self._log = get_logger()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._refused = ""
        try:
            self._seen = fingerprint(self._folder)
            self.current = self._load()
        except (OSError, RulesRefused) as error:
            raise Fatal(f"rules folder {folder} cannot be used: {error}") from error
        self._announce("loaded")

    def refresh(self) -> bool:
        """Look once; True when a new version is in force. Never raises: the old version stays whatever is found."""
        try:
            now = fingerprint(self._folder)
            if now == self._seen:
                return False
            self._seen = now
            self.current = self._load()
        except (OSError, RulesRefused) as error:
            self._refuse(error)
            return False
        self._announce("reloaded")
        return True

    def watch(self, interval_ms: int) -> None:
        """Look every interval_ms in a thread until close()."""
        self._thread = threading.Thread(
            target=self._watch, args=(interval_ms / 1000,), name="rules-folder", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop watching; returns when the thread has ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, interval_s: float) -> None:
        while not self._stop.wait(interval_s):
            self.refresh()

    def _load(self) -> RuleIndex:
        return RuleIndex(parse_rules(read_folder(self._folder)), self._zone)

    def _announce(self, result: str) -> None:
        self._refused = ""
        versions = {rule.name: rule.version for rule in self.current.rules}
        metrics.RELOADS.labels(result).inc()
        metrics.LOADED.set(len(versions))
        metrics.REFUSED.set(0)
        self._health.set("rules folder", True, f"{len(versions)} rules in force")
        self._log.info(f"rules.{result}", folder=str(self._folder), versions=versions)

    def _refuse(self, error: OSError | RulesRefused) -> None:
        if isinstance(error, OSError):
            self._seen = ()  # unlike a mistake, this may pass without any file changing: look again
        text = str(error)
        if text == self._refused:
            return
        self._refused = text
        first, *others = text.splitlines()
        detail = f"{len(self.current.rules)} older rules in force; the new version is refused: {first}"
        detail += f" (and {len(others)} more mistakes)" if others else ""
        metrics.RELOADS.labels("refused").inc()
        metrics.REFUSED.set(1)
        # Still ready: yesterday's rules are better than none. The gauge is there to be alerted on.
        self._health.set("rules folder", True, detail)
        self._log.error("rules.refused", folder=str(self._folder), mistakes=[first, *others])


class HandoverKeys:
    """Keys of hand-overs: they lie in the giver's slot, where its own apply may write them."""

    def __init__(self, slot: Slot, partitions: int) -> None:
        self._slot, self._partitions = slot, partitions

    def give(self, handoff_id: str, to_id: str) -> str:
        """Where this partition puts what a customer of its own hands over."""
        return self._slot.key("give", f"{handoff_id}:{to_id}")

    def take(self, handoff_id: str, from_id: str, to_id: str) -> str:
        """Where the giver's partition put it."""
        giver = Slot(self._slot.service, partition_of(from_id.encode(), self._partitions))
        return giver.key("give", f"{handoff_id}:{to_id}")


class Wire:
    """Records of the input and output topics; one per process."""

    def __init__(self, registry_url: str, partitions: int) -> None:
        registry = open_registry(registry_url)
        self.partitions, self.registry = partitions, registry
        self._change, self._trigger = Codec("profile_change", registry), Codec("trigger", registry)

    def read_change(self, value: bytes | None) -> Change:
        """A value of profile.changes. Raises Poison."""
        try:
            return change_of(self._change.decode(value))
        except msgspec.ValidationError as error:
            raise Poison(f"profile_change: {error}") from error

    def trigger(self, fire: Fire, change: Change, fired_at_ms: int) -> Output:
        """The trigger of a fire, ready to be produced."""
        rule = fire.rule
        key = change.customer_id.encode()
        value: Mapping[str, object] = {
            "trigger_id": stable_id(rule.name, rule.version, fire.anchor),
            "rule": rule.name,
            "rule_version": rule.version,
            "customer_id": change.customer_id,
            "anchor": fire.anchor,
            "cause": change.cause,
            "event_id": change.event_id,
            "name": change.name,
            "fired_at": fired_at_ms,
            "accepted_at": change.accepted_at,
            "actions": rule.actions,
            "profile": change.profile or b"{}",
            "properties": change.properties or b"{}",
        }
        partition = partition_of(key, self.partitions)
        return Output(TRIGGERS, partition, key, self._trigger.encode(dict(value)), [("src", change.cause.encode())])
