"""schedule.toml as values, and what a seed makes of it: a shape and faults with targets and moments. Pure."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos.rig.processes import BACKENDS, names_of

FILE = Path(__file__).resolve().parents[1] / "schedule.toml"


@dataclass(frozen=True, slots=True)
class Shape:
    """One deployment and what is sent to it."""

    name: str
    weight: int
    scenes: Mapping[str, int]
    brokers: int = 1
    replicas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault as the file has it."""

    name: str
    targets: tuple[str, ...]
    weight: int
    hold_s: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a seed: from `at_s` after the workload's start, for `hold_s`. `seed` feeds what it still chooses."""

    kind: str
    target: str
    at_s: float
    hold_s: float
    seed: int

    @property
    def label(self) -> str:
        """What results are counted by: kind and target without the replica's number."""
        name, _, backend = self.target.partition(":")
        return f"{self.kind} {name.partition('-')[0] if name[-1:].isdigit() else name}" + (backend and f":{backend}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The whole file."""

    shapes: Mapping[str, Shape]
    kinds: Sequence[Kind]
    timing: Mapping[str, object]

    def shape_of(self, seed: int) -> Shape:
        """The shape that a seed runs on."""
        shapes = list(self.shapes.values())
        return Random(f"shape {seed}").choices(shapes, [shape.weight for shape in shapes])[0]

    def faults_of(self, seed: int, shape: Shape) -> list[Fault]:
        """The faults of a seed, by their moments."""
        random = Random(f"faults {seed} {shape.name}")
        earliest, latest, overlap, follow = (
            float(str(self.timing[name])) for name in ("earliest_s", "latest_s", "overlap", "follow_s")
        )
        many = self.timing["faults"]
        assert isinstance(many, list)
        count = random.choices(range(1, len(many) + 1), many)[0]
        found: list[Fault] = []
        for kind in random.choices(self.kinds, [kind.weight for kind in self.kinds], k=count):
            target = random.choice(_targets(kind, shape))
            hold_s = random.uniform(*kind.hold_s)
            if found and random.random() < overlap and found[-1].hold_s:
                at_s = found[-1].at_s + random.uniform(0, found[-1].hold_s)
            elif found:
                at_s = found[-1].at_s + found[-1].hold_s + random.uniform(0.1, follow)
            else:
                at_s = random.uniform(earliest, latest)
            found.append(Fault(kind.name, target, round(at_s, 3), round(hold_s, 3), random.randrange(1 << 30)))
        # A rolling restart waits for every process to be ready, which it may not be before another fault is over.
        return [fault for fault in found if fault.kind == "roll"][:1] or found


def load_schedule(path: Path = FILE) -> Schedule:
    """The schedule of a file. Raises KeyError and ValueError for what it does not know."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    shapes = {name: Shape(name, **body) for name, body in raw["shape"].items()}
    kinds = [
        Kind(name, tuple(body["targets"]), body["weight"], tuple(body.get("hold_s", (0.0, 0.0))))
        for name, body in raw["fault"].items()
    ]
    return Schedule(shapes, kinds, raw["timing"])


def _targets(kind: Kind, shape: Shape) -> list[str]:
    """The targets that this shape has: every replica of a service, every link, brokers."""
    places = names_of(shape.replicas)
    found: list[str] = []
    for target in kind.targets:
        if target.startswith("*:"):
            backend = target[2:]
            found += [f"{name}:{backend}" for name, service in places if backend in BACKENDS[service]]
        elif target in BACKENDS and kind.name != "roll":
            found += [name for name, service in places if service == target]
        elif target == "kafka":
            found.append("kafka-1" if shape.brokers == 1 else "kafka-any")
        elif target not in ("kafka-leader", "kafka-all") or shape.brokers > 1:
            found.append(target)
    return found
