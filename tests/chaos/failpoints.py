"""`python -m tests.chaos.failpoints [--hits 1,2,r] [--actions kill,other] [--only NAME]`: every failpoint on the stack.

Exit code 1 when one was not hit, when a process ended as it should not, or when the oracle found a difference.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.rig.course import Course
from tests.chaos.rig.evidence import keep
from tests.chaos.rig.goals import RANDOM, Goal, goals_of

CHAPTER_S = 75.0
Say = Callable[[str], None]


@dataclass
class Report:
    """What came of it."""

    reached: list[Goal] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lives: int = 0
    deaths: int = 0
    chapters: int = 0
    took_s: float = 0.0

    def text(self) -> str:
        """For people."""
        by_service = Counter(goal.service for goal in self.reached)
        counts = ", ".join(f"{service} {count}" for service, count in sorted(by_service.items()))
        return (
            f"{len(self.reached)} points hit ({counts}) in {self.lives} lives, {self.deaths} of them killed,"
            f" {self.chapters} chapters, {self.took_s:.0f} s: {len(self.problems)} problems"
        )


def run(goals: list[Goal], folder: Path, seed: int, say: Say) -> Report:
    """Reach all of them on one deployment; a chapter is a seed's messages with everything done to the processes."""
    report, began_s = Report(), time.monotonic()
    with Course(folder, goals, say) as course:
        while not course.is_done and not report.problems:
            report.chapters += 1
            before = len(course.reached)
            verdict = course.run(seed + report.chapters, [], CHAPTER_S)
            report.problems += [*verdict.differences, *course.problems]
            say(
                f"chapter {report.chapters}: {len(course.reached) - before} points, {verdict.acked} acked,"
                f" {verdict.unknown} unknown, {verdict.triggers} fired, {verdict.took_s:.0f} s,"
                f" {len(verdict.differences)} differences, {course.left} left"
            )
            if report.problems:
                tried = [goal.name for goal in course.reached[before:]]
                report.problems.append(f"points of this chapter: {', '.join(tried)}")
                kept = keep(course, verdict, "python -m tests.chaos.failpoints --only NAME", folder.parent / "failures")
                report.problems.append(f"logs, journal and topics: {kept}")
        report.problems += [f"{goal.name} was never hit" for goal in course.given_up]
        report.reached = course.reached
        report.lives, report.deaths = course.lives, course.deaths
    report.took_s = time.monotonic() - began_s
    return report


def parse_hits(text: str) -> list[int]:
    """`1,2,r` → hits, r a random one."""
    return [RANDOM if part == "r" else int(part) for part in text.split(",")]


def main() -> int:
    """Run it; a line a point, a line a chapter, a summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.failpoints", description=__doc__)
    parser.add_argument("--hits", default="1,2,r", help="which hits, r: a random one beyond the second")
    parser.add_argument("--actions", default="kill,other", help="kill, stop, raise, sleep:<ms>; other: one of these")
    parser.add_argument("--only", default="", help="only points whose name contains this, e.g. identity.after_apply")
    parser.add_argument("--seed", type=int, default=1, help="chooses random hits, other actions and the messages")
    given = parser.parse_args()
    goals = goals_of(parse_hits(given.hits), given.actions.split(","), given.seed, given.only)
    folder = Path(tempfile.mkdtemp(prefix="touchstream-failpoints-"))
    report = run(goals, folder / "stack", given.seed, lambda text: print(text, flush=True))
    print("\n".join([*report.problems, report.text()]))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
