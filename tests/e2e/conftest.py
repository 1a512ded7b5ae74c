"""One running local stack for the end-to-end tests that only send and look; those that break things start their own."""

import subprocess
from collections.abc import Iterator

import pytest

from deploy.local.settings import ROOT
from tests.e2e.demo_stack import TOUCHSTREAM, DemoStack

# Long enough for half a million lines on a machine that has other things to do.
PATIENCE_S = 1_800


class RunningStack(DemoStack):
    """A stack that is up; commands have to succeed."""

    @property
    def ingest_url(self) -> str:
        """Base URL of its ingest."""
        return f"http://127.0.0.1:{self.environ['TOUCHSTREAM_INGEST_PORT']}"

    def must(self, *args: str, stdin: str = "", code: int = 0) -> str:
        """`touchstream ARGS`, which has to end with `code`; its standard output."""
        done = subprocess.run(
            [TOUCHSTREAM, *args], env=self.environ, cwd=ROOT, text=True, capture_output=True, input=stdin,
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == code, f"{args}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def settle(self) -> None:
        """Wait until everything sent so far is worked off and in ClickHouse."""
        self.must("wait-idle", "--timeout", "900")


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The stack on free ports in a folder of its own; ended whatever happens."""
    stack = RunningStack(tmp_path_factory.mktemp("stack"))
    try:
        stack.must("up", "--detach")
        yield stack
        stack.must("down")
    finally:
        stack.end()
