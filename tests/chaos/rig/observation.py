"""What the system showed of one seed, as values for the oracle."""

from dataclasses import dataclass, field
from typing import Any

from tests.chaos.rig.receiver import Received

Row = dict[str, Any]


@dataclass
class Observation:
    """Decoded records by topic, in order of partition and offset, repeats of a number left out. `at` in each names its
    place; `n`, `kind`, `node` and `src` come from headers. `events` and the like are rows of ClickHouse."""

    records: dict[str, list[Row]]
    channels: list[str]
    events: list[Row] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    customers: dict[str, Row] = field(default_factory=dict)
    triggers: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    duplicates: list[Row] = field(default_factory=list)
    graph: dict[str, str] = field(default_factory=dict)
    identifiers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
