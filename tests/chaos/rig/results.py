"""Results as JSON lines, one a seed; what they come to, as text and as the tables of RESULTS.md."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.rig.station import Verdict

Row = dict[str, Any]


def row_of(verdict: Verdict) -> Row:
    """One line of the results file."""
    faults = [
        {
            "kind": s.fault.kind, "label": s.fault.label, "said": s.said, "at_s": round(s.began_s, 2),
            "ended_s": round(s.ended_s, 2), "recovery_s": round(s.recovery_s, 2),
        }
        for s in verdict.struck
    ]  # fmt: skip
    return {
        "seed": verdict.seed, "shape": verdict.shape, "faults": faults, "sent": verdict.sent, "acked": verdict.acked,
        "unknown": verdict.unknown, "triggers": verdict.triggers, "errors": dict(verdict.errors),
        "took_s": round(verdict.took_s, 1), "differences": verdict.differences,
    }  # fmt: skip


def line_of(row: Row) -> str:
    """One seed for people."""
    faults = "; ".join(f"{f['said']} (back {f['recovery_s']:.1f} s)" for f in row["faults"]) or "no fault"
    verdict = "ok" if not row["differences"] else f"{len(row['differences'])} DIFFERENCES"
    return (
        f"seed {row['seed']} {row['shape']}: {row['acked']} acked, {row['unknown']} unknown, {row['triggers']} fired,"
        f" {row['took_s']:.0f} s: {verdict} | {faults}"
    )


def load(path: Path) -> list[Row]:
    """The rows of a results file; of a seed that ran several times on a shape, the last."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return list({(row["shape"], row["seed"]): row for row in rows}.values())


def summary(rows: Sequence[Row]) -> str:
    """What a campaign came to, as Markdown."""
    failed = [row for row in rows if row["differences"]]
    faults = [fault for row in rows for fault in row["faults"]]
    shapes = Counter(row["shape"] for row in rows)
    head = [
        f"- {len(rows)} seeds ({', '.join(f'{count} {name}' for name, count in sorted(shapes.items()))}),"
        f" {sum(row['took_s'] for row in rows) / 3600:.1f} h",
        f"- {sum(row['sent'] for row in rows)} events sent, {sum(row['acked'] for row in rows)} acknowledged,"
        f" {sum(row['unknown'] for row in rows)} unknown, {sum(row['triggers'] for row in rows)} triggers",
        f"- {len(faults)} faults injected; seeds with a difference: {len(failed)}"
        + (f" ({', '.join(str(row['seed']) for row in failed)})" if failed else ""),
    ]
    return "\n".join([*head, "", *_table(rows, "kind"), "", *_table(rows, "label")])


def _table(rows: Iterable[Row], by: str) -> list[str]:
    """Faults by kind or label: how often, and from their end until everything was at rest (seeds that passed)."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    seeds: Counter[str] = Counter()
    for row in rows:
        for fault in row["faults"]:
            seeds[fault[by]] += 1
            if not row["differences"]:
                found[fault[by]].append(fault["recovery_s"])
    lines = ["| fault | injected | recovery p50 | max |", "|---|---|---|---|"]
    for label in sorted(seeds):
        times = found[label]
        said = f"{median(times):.1f} s | {max(times):.1f} s" if times else "– | –"
        lines.append(f"| {label} | {seeds[label]} | {said} |")
    return lines
