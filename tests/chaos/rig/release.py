"""The code of the release before, unpacked beside this one, for rolling restarts with two versions."""

import os
import subprocess
import tarfile
from functools import cache
from io import BytesIO
from pathlib import Path

from deploy.local.settings import ROOT

# The last state before failpoints and batch names: what runs in production while this is rolled out.
BEFORE = os.environ.get("TOUCHSTREAM_TEST_CHAOS_BEFORE", "85a8a61")
# What a service needs to run; tests and docs do not.
PARTS = ("services", "schemas", "deploy", "pyproject.toml")


@cache
def release_before(folder: Path) -> Path:
    """The folder of its code, made once. Raises CalledProcessError where the history does not have it."""
    target = folder / f"release-{BEFORE}"
    if not target.exists():
        command = ["git", "-C", str(ROOT), "archive", BEFORE, *PARTS]
        packed = subprocess.run(command, capture_output=True, check=True).stdout
        fresh = target.with_suffix(f".{os.getpid()}")
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(fresh, filter="data")
        fresh.replace(target)
    return target
