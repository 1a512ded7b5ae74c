"""The ClickHouse of the local stack: chDB behind ClickHouse's HTTP interface. `python -m deploy.local.clickhouse`.

Listens on the host and port of TOUCHSTREAM_CLICKHOUSE_URL, keeps its data in <state>/clickhouse, logs to stderr.
SIGTERM finishes the requests that are running and closes the engine.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from deploy.local.chdb_engine import Engine, EngineError
from deploy.local.chdb_http import create_app
from deploy.local.settings import LocalSettings, local_settings


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would raise the signal once more after serving, and end us before the engine is closed."""
        yield


def serve(settings: LocalSettings) -> int:
    """Serve until a signal; returns the exit code (1: the directory cannot be opened)."""
    host, port = settings.clickhouse_address
    try:
        engine = Engine(settings.state_dir / "clickhouse")
    except EngineError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log of this process is its stderr
        return 1
    config = uvicorn.Config(
        create_app(engine), host=host, port=port, log_level="warning", access_log=False, lifespan="off",
        timeout_graceful_shutdown=20, timeout_keep_alive=75,
    )  # fmt: skip
    server = _Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run()
    engine.close()
    return 0


if __name__ == "__main__":
    code = serve(local_settings())
    sys.stderr.flush()
    # Not sys.exit: chDB's own threads may still run its destructors while the interpreter takes itself apart.
    os._exit(code)
