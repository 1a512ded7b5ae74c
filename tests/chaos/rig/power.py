"""Power loss of Valkey: kill -9, and of what it had written only what was fsynced is left, or a little more.

What was fsynced last cannot be seen from outside without tracing the process, and a sampled size is not exact. So the
moment is arranged, with nothing but the server's own promise. The proxies hold the next scripts that clients ask for,
then all answers; a marker is written and WAITAOF asked for it. All that anybody was ever answered stands before the
marker, and the marker is on disk. Now the scripts are let go: they are written behind it, and nobody learns of it. For
every client this is the moment between write and fsync, stretched; a cut anywhere behind the marker is one that a
power loss may leave. All clients must come through the links given; nothing but Python is needed.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random

import redis

from tests.chaos.rig.aof import growing_file, read_commands, transactions
from tests.chaos.rig.proxy import Proxy

MARKER_KEY = "power:marker"
MARKER_DATABASE = 1  # the ledgers are in 0, where nothing foreign may stand
SCRIPT = b"EVALSHA"
# How long unanswered requests may take to write something. Longer only costs time on an idle server.
PATIENCE_S = 1.0
LOADING_S = 0.05  # between two looks at a server that loads its data
SETTLED_S = 0.1
# `everysec` syncs at most once a second: what is written this long after a sync has not been synced.
UNSYNCED_S = 0.9


class Cut(Enum):
    """How much of what nobody was answered survives."""

    NOTHING = "everything survives, as after kill -9"
    LAST_ANSWER = "nothing survives"
    BORDER = "it ends behind a whole command"
    INSIDE = "it ends inside a script's transaction"


@dataclass(frozen=True, slots=True)
class Victim:
    """A running Valkey: its URL (not through a proxy), data folder, and what kills it and waits for its end."""

    url: str
    folder: Path
    kill: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Loss:
    """Bytes of the append-only file: synced for certain, written, left; and whole transactions among those lost."""

    synced: int
    written: int
    kept: int
    transactions_lost: int


def lose_power(victim: Victim, links: Sequence[Proxy], cut: Cut, random: Random) -> Loss:
    """Kill Valkey and cut its file behind everything that was answered. Start it again afterwards.

    Without traffic there is nothing to lose: Loss.written == Loss.synced. INSIDE without a transaction, BORDER without
    a command: as LAST_ANSWER. The connections of `links` are reset, the answers they held are never delivered.
    """
    try:
        for link in links:
            link.hold_requests(SCRIPT)
        _wait_for_held(links)
        for link in links:
            link.hold_answers()
        synced = _synced(victim)
        for link in links:
            link.release_requests()
        file = growing_file(victim.folder)
        _wait_for_unanswered(file, synced)
        victim.kill()
    finally:
        for link in links:
            link.release_requests()
            link.drop_held()
    return _cut(file, synced, cut, random)


def lose_last_second(victim: Victim) -> Loss:
    """What `appendfsync everysec` may cost: up to a second that was answered. Start it again afterwards."""
    synced = _synced(victim)
    file = growing_file(victim.folder)
    time.sleep(UNSYNCED_S)  # not a wait for something: the time during which the clients go on is what is lost
    victim.kill()
    return _cut(file, synced, Cut.LAST_ANSWER, Random())


def _synced(victim: Victim) -> int:
    """A size of the growing file that is on disk for certain; all that was answered before the call is within."""
    value = os.urandom(16).hex()
    with redis.Redis.from_url(victim.url, db=MARKER_DATABASE, socket_timeout=10.0) as client:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                client.set(MARKER_KEY, value)
                break
            except redis.BusyLoadingError:  # killed a moment ago, by the fault before
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOADING_S)
        local, _ = client.execute_command("WAITAOF", 1, 0, 5_000)
    if local != 1:
        raise RuntimeError(f"{victim.url}: WAITAOF confirmed no sync within 5 s; is the append-only file on?")
    data = growing_file(victim.folder).read_bytes()
    return data.index(value.encode()) + len(value) + len("\r\n")


def _wait_for_held(links: Sequence[Proxy]) -> None:
    """Until scripts are held and their number has stood for a while: who was answered last has asked anew."""
    began = [link.counters.held for link in links]
    deadline = time.monotonic() + PATIENCE_S
    held, since = 0, time.monotonic()
    while time.monotonic() < deadline and (not held or time.monotonic() - since < SETTLED_S):
        now = sum(link.counters.held for link in links) - sum(began)
        if now != held:
            held, since = now, time.monotonic()
        time.sleep(0.005)


def _wait_for_unanswered(file: Path, synced: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if transactions(read_commands(_behind(file, synced))):
            return
        time.sleep(0.005)


def _cut(file: Path, synced: int, cut: Cut, random: Random) -> Loss:
    tail = _behind(file, synced)
    commands = read_commands(tail)
    blocks = transactions(commands)
    kept = len(tail) if cut is Cut.NOTHING else 0
    if cut is Cut.BORDER and commands:
        kept = random.choice(commands).end
    elif cut is Cut.INSIDE and blocks:
        begin, end = random.choice(blocks)
        kept = random.randrange(begin + 1, end)
    os.truncate(file, synced + kept)
    lost = sum(1 for _, end in blocks if end > kept)
    return Loss(synced, synced + len(tail), synced + kept, lost)


def _behind(file: Path, place: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek(place)
        return stream.read()
