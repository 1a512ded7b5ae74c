"""TCP ports for servers that are killed and started again on the same port."""

import random
import socket

from services.chassis.errors import Fatal

# Below what Linux gives to outgoing connections (32768 on): those would take a dead broker's port before it is back.
LOWEST, HIGHEST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """So many different ports on which nobody listens right now. Raises Fatal when there are not so many."""
    found: list[int] = []
    # Not the seeded generator of a test: two runs side by side would ask for the same ports.
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        if len(found) == count:
            return found
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    raise Fatal(f"fewer than {count} free ports between {LOWEST} and {HIGHEST}")
