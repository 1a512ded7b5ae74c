"""Kafka's jars, fetched once by Maven into the user's cache, and an archive of their loaded classes.

Without the archive a broker takes 3 s to start, nearly all of it loading classes; with it 1 s.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.chassis.errors import Fatal

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
OLDEST_JAVA = 17
# Maven Central from a slow line; a mirror next door takes 15 s.
FETCH_TIMEOUT_S = 900.0
INSTALL = "On Debian or Ubuntu: sudo apt-get install default-jre-headless maven"


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/touchstream/kafka-<version>; ~/.cache where that is not set."""
    found = re.search(r"<kafka\.version>(.+)</kafka\.version>", POM.read_text(encoding="utf-8"))
    if found is None:
        raise Fatal(f"{POM}: no kafka.version")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "touchstream" / f"kafka-{found[1]}"


def tool(name: str) -> str:
    """Path of java or mvn. Raises Fatal with what to install."""
    path = shutil.which(name)
    if path is None:
        raise Fatal(f"Apache Kafka needs {name}, which is not on PATH. {INSTALL}")
    return path


def classpath() -> str:
    """All jars, fetched first if they are not there or of another pom.xml. Raises Fatal; two at once wait in line."""
    java, cache = tool("java"), cache_folder()
    libs, mark = cache / "libs", cache / "pom.xml"
    with _alone(cache / "jars.lock"):
        if not mark.exists() or mark.read_bytes() != POM.read_bytes():
            _check_java(java)
            shutil.rmtree(libs, ignore_errors=True)
            _fetch(libs)
            shutil.copy(POM, mark)
    # By name: the archive of classes is only taken for the very same classpath.
    return ":".join(str(jar) for jar in sorted(libs.glob("*.jar")))


def class_archive(record: Callable[[Path], None]) -> Path:
    """The archive of classes for this Java and these jars; `record` makes it when there is none."""
    java, cache = Path(tool("java")).resolve(), cache_folder()
    of = hashlib.sha256(f"{java} {java.stat().st_mtime_ns} {POM.read_text(encoding='utf-8')}".encode()).hexdigest()
    archive = cache / f"classes-{of[:12]}.jsa"
    if archive.exists():
        return archive
    # A lock of its own: making the archive asks for the classpath.
    with _alone(cache / "classes.lock"):
        if not archive.exists():
            _check_java(str(java))
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                record(Path(folder))
                (Path(folder) / "classes.jsa").replace(archive)
    return archive


def _fetch(libs: Path) -> None:
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
def _alone(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
