"""Ports for a whole deployment at once, so that its parts do not choose the same ones."""

import random
import socket

# Below those of deploy.kafka.ports: a broker that starts elsewhere between the look and the use of a block took one of
# its ports.
LOWEST, HIGHEST = 10_000, 19_000


def free_block(count: int) -> range:
    """So many ports in a row on which nobody listens, below the range of outgoing connections. Raises RuntimeError."""
    # Not a seeded generator: two runs side by side would ask for the same ports.
    system = random.SystemRandom()
    for _ in range(1_000):
        first = system.randrange(LOWEST, HIGHEST - count)
        block = range(first, first + count)
        if all(_is_free(port) for port in block):
            return block
    raise RuntimeError(f"no {count} free ports in a row between {LOWEST} and {HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
