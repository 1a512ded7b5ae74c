"""Kafka's jars, fetched once by Maven into the user's cache, and beside them what makes a start quick.

Without an archive of the loaded classes a broker takes 3 s to start, nearly all of it loading classes; with it 1 s.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from services.chassis.errors import Fatal

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
OLDEST_JAVA = 17
# Maven Central from a slow line; a mirror next door takes 15 s.
FETCH_TIMEOUT_S = 900.0
INSTALL = "On Debian or Ubuntu: sudo apt-get install default-jre-headless maven"


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/touchstream/kafka-<version>/<hash of pom.xml>; ~/.cache where that variable is not set."""
    pom = POM.read_text(encoding="utf-8")
    found = re.search(r"<kafka\.version>(.+)</kafka\.version>", pom)
    if found is None:
        raise Fatal(f"{POM}: no kafka.version")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    # Two checkouts with different files do not take each other's jars away.
    return base / "touchstream" / f"kafka-{found[1]}" / sha256(pom.encode()).hexdigest()[:12]


def tool(name: str) -> str:
    """Path of java or mvn. Raises Fatal with what to install."""
    path = shutil.which(name)
    if path is None:
        raise Fatal(f"Apache Kafka needs {name}, which is not on PATH. {INSTALL}")
    return path


def classpath() -> str:
    """All jars, whether they are there yet or not. Java expands it in the folder's own order, the same every time."""
    return str(cache_folder() / "libs" / "*")


def fetch() -> None:
    """Have the jars, from Maven if they are not there yet. Raises Fatal; two that ask at once wait in line."""
    tool("java")
    libs = cache_folder() / "libs"
    if not libs.exists():
        with _alone(cache_folder(), "jars.lock") as scratch:
            if not libs.exists():
                _maven(scratch / "libs")
                (scratch / "libs").rename(libs)


def first_start(options: Sequence[str]) -> Path:
    """The folder that keeps what a first start left, whether it is there yet or not.

    Java takes an archive of classes only with the very Java, jars and options with which it was made.
    """
    java = Path(tool("java")).resolve()
    of = sha256(repr((str(java), java.stat().st_mtime_ns, classpath(), *options)).encode()).hexdigest()
    return cache_folder() / f"first-start-{of[:12]}"


def record_first_start(options: Sequence[str], record: Callable[[Path], None]) -> None:
    """Have that folder, filled by `record` if it is not there yet. Raises Fatal; two that ask at once wait in line."""
    kept = first_start(options)
    if not kept.exists():
        _check_java(tool("java"))
        with _alone(cache_folder(), "first-start.lock") as scratch:
            if not kept.exists():
                (scratch / "kept").mkdir()
                record(scratch / "kept")
                (scratch / "kept").rename(kept)


def _maven(libs: Path) -> None:
    command = [
        tool("mvn"), "--quiet", "--batch-mode", "-Dstyle.color=never", "--file", str(POM),
        "dependency:copy-dependencies", f"-DoutputDirectory={libs}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Fatal(f"fetching Apache Kafka did not end within {FETCH_TIMEOUT_S:.0f} s: {' '.join(command)}") from None
    if done.returncode != 0:
        raise Fatal(f"fetching Apache Kafka failed: {' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-1000:]}")


def _check_java(java: str) -> None:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise Fatal(f"Apache Kafka needs Java {OLDEST_JAVA} or newer; {java} says {said.strip()!r}. {INSTALL}")


@contextmanager
def _alone(folder: Path, lock: str) -> Iterator[Path]:
    """A scratch folder on the same disk, held by one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / lock).open("ab") as held, tempfile.TemporaryDirectory(dir=folder) as scratch:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield Path(scratch)
