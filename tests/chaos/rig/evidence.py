"""What is kept of a seed that failed: its journal, every process's log, what lay in the topics, how to repeat it."""

import json
import shutil
from pathlib import Path

from tests.chaos.rig.station import Station, Verdict

LOG_BYTES = 4 << 20


def keep(station: Station, verdict: Verdict, command: str, folder: Path) -> Path:
    """Write it; returns its folder."""
    target = folder / f"seed-{verdict.seed}-{verdict.shape}"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    faults = [f"{s.began_s:8.2f} to {s.ended_s:8.2f} s  {s.said}" for s in verdict.struck]
    text = ["repeat: " + command, "", "faults:", *faults, "", "differences:", *verdict.differences, ""]
    (target / "verdict.txt").write_text("\n".join(text), encoding="utf-8")
    shutil.copy(station.journal_path, target / "journal.jsonl")
    for name in station.deployment.names:
        log = station.deployment.log(name)
        if log.exists():
            (target / f"{name}.log").write_bytes(log.read_bytes()[-LOG_BYTES:])
    with (target / "topics.jsonl").open("w", encoding="utf-8") as out:
        for seen in station.records:
            value = (seen.value or b"").hex()
            line = {"at": f"{seen.topic}/{seen.partition}@{seen.offset}", "key": seen.key.decode(errors="replace")}
            out.write(json.dumps({**line, "headers": seen.headers, "value": value}) + "\n")
    return target
