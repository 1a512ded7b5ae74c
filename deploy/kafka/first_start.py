"""A broker's first start on a machine, recorded for all later ones: the classes it loads, what an empty log holds."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from deploy.kafka.node import CHECKPOINT, CLASSES, HOST, Node, new_id
from deploy.kafka.ports import free_ports
from deploy.local.child import spawn
from services.chassis.errors import Fatal
from services.chassis.kafka.brokers import live_brokers

# Takes 10 s on a machine that has nothing else to do. Java writes the archive at the end.
TIMEOUT_S = 180.0
POLL_S = 0.05


def record(folder: Path) -> None:
    """Format and run a broker once, and leave CLASSES and CHECKPOINT in the folder. Main thread only. Raises Fatal."""
    port, controller = free_ports(2)
    node = Node(1, folder / "scratch", port, {1: controller})
    node.folder.mkdir()
    node.config.write_text(node.properties(), encoding="utf-8")
    done = subprocess.run(node.format_command(new_id()), capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise Fatal(f"formatting a log of Apache Kafka failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    shutil.copy(node.data / CHECKPOINT, folder / CHECKPOINT)
    command = node.run_command((f"-XX:ArchiveClassesAtExit={folder / CLASSES}",))
    child = spawn("kafka-1", command, os.environ, node.folder, node.folder)
    try:
        has_started = until(lambda: live_brokers(f"{HOST}:{port}") == {1}, TIMEOUT_S)
    finally:
        child.terminate()
        has_ended = child.wait(TIMEOUT_S)
    if not has_started or not has_ended or not (folder / CLASSES).exists():
        raise Fatal(f"a first start of Apache Kafka failed; its log ends:\n{child.last_words()}")
    shutil.rmtree(node.folder)


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask again and again; False when it did not hold within timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
