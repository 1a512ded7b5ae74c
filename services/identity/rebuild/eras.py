"""Under which policy each batch was decided, as `identity.changes` tells it: a rebuild decides it under the same one.

What was decided before the first policy was told (by a release that told none) is decided under today's.
"""

import json
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import Fatal
from services.identity.core.policy import Policy, PolicyError, parse_policy

KIND = "policy"


@dataclass(frozen=True, slots=True)
class Era:
    """A policy that was told: its rules as JSON, and the log time and offset of the first touchpoint under it."""

    version: str
    text: str
    since_ms: int
    offset: int

    @property
    def since(self) -> tuple[int, int]:
        """As Graph takes it."""
        return self.since_ms, self.offset

    def policy(self) -> Policy:
        """Raises Fatal when this release reads its rules otherwise, or not at all."""
        try:
            found = parse_policy(json.loads(self.text))
        except (ValueError, PolicyError) as error:
            raise Fatal(f"the identity policy {self.version}, which held since {self.since_ms} ms: {error}") from error
        if found.version != self.version:
            raise Fatal(f"the identity policy {self.version} reads as {found.version}: its record was altered")
        return found


def era_of(change: dict[str, Any]) -> Era:
    """Of a record or row with kind `policy`."""
    offset = int(change["cause"].rpartition(".")[2])
    return Era(change["nodes"][0], change["reason"], change["occurred_at"], offset)
