"""Runs seeds: one station a shape, a new one after a failure; a line a seed, and a file of results."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.chaos.rig.evidence import keep
from tests.chaos.rig.results import Row, line_of, row_of
from tests.chaos.rig.schedule import Schedule, Shape
from tests.chaos.rig.station import Station

Say = Callable[[str], None]


def parse_seeds(text: str) -> list[int]:
    """`1-300,405` → the numbers. Raises ValueError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


class Runner:
    """run() the seeds of a campaign. `folder` holds the stations' state, and what is kept of failures."""

    def __init__(self, schedule: Schedule, folder: Path, out: Path | None, say: Say) -> None:
        self._schedule, self._folder, self._out, self._say = schedule, folder, out, say
        self._stations = 0

    def run(self, seeds: Iterable[int], shape: str = "") -> list[Row]:
        """All seeds, by shape (or all on one); the rows of the results file."""
        by_shape: defaultdict[str, list[int]] = defaultdict(list)
        for seed in seeds:
            by_shape[shape or self._schedule.shape_of(seed).name].append(seed)
        rows: list[Row] = []
        for name, group in by_shape.items():
            left = list(group)
            while left:
                rows += self._on_one_station(self._schedule.shapes[name], left)
        return rows

    def _on_one_station(self, shape: Shape, left: list[int]) -> list[Row]:
        """Seeds from the front of `left`, until it is empty or one has failed."""
        self._stations += 1
        folder = self._folder / f"{shape.name}-{self._stations}"
        shutil.rmtree(folder, ignore_errors=True)
        rows: list[Row] = []
        with Station(shape, folder) as station:
            while left:
                seed = left.pop(0)
                workload_s = float(str(self._schedule.timing["workload_s"]))
                verdict = station.run(seed, self._schedule.faults_of(seed, shape), workload_s)
                row = row_of(verdict)
                rows.append(row)
                self._say(line_of(row))
                if self._out is not None:
                    with self._out.open("a", encoding="utf-8") as out:
                        out.write(json.dumps(row) + "\n")
                if verdict.differences:
                    command = f"python -m tests.chaos --seeds {seed} --shape {shape.name}"
                    kept = keep(station, verdict, command, self._folder / "failures")
                    self._say(
                        "\n".join(["  " + line for line in [*verdict.differences, f"repeat: {command}", str(kept)]])
                    )
                    break
        shutil.rmtree(folder, ignore_errors=True)
        return rows
