"""Where things are after the demo, and what to try next: commands that work as they stand, on a customer of the run."""

import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

from cli.demo.books import Account
from deploy.local.settings import ROOT, LocalSettings


def places(
    settings: LocalSettings, ingest_url: str, sink_url: str, metrics_urls: dict[str, str]
) -> list[tuple[str, str]]:
    """(what, where)."""
    ports = ", ".join(f"{name} {urlsplit(url).port}" for name, url in metrics_urls.items())
    return [
        ("send events to", f"{ingest_url}  (write key: local), documented at {ingest_url}/docs"),
        ("ClickHouse", f"{settings.clickhouse_url}, database {settings.clickhouse_database}"),
        ("Kafka, Valkey", f"{settings.kafka_bootstrap}, {settings.redis_url}"),
        ("deliveries", sink_url),
        ("/metrics on ports", ports),
        ("rules, templates", "deploy/config/rules, deploy/config/templates"),
        ("logs", str(settings.logs_dir)),
    ]


def example(accounts: list[Account]) -> Account | None:
    """A customer worth looking at: known by a phone and on several devices, with orders and many events."""

    def interest(account: Account) -> tuple[bool, int, int]:
        devices = sum(name.startswith(("anonymous_id:", "device_id:")) for name in account.identifiers)
        return (
            any(name.startswith("phone:") for name in account.identifiers),
            devices * bool(account.orders),
            account.events,
        )

    return max(accounts, key=interest, default=None)


def try_next(account: Account | None, settings: LocalSettings, ingest_url: str, stays: bool) -> list[tuple[str, str]]:
    """(purpose, command); the first starts the stack again, unless it `stays`."""
    command = _command()
    found = [] if stays else [("start the stack again", f"{command} up --detach")]
    if account is not None:
        by_kind = {name.partition(":")[0]: name for name in sorted(account.identifiers, reverse=True)}
        best = by_kind.get("phone") or min(account.identifiers)
        found += [
            ("everything about one of them", f"{command} customer show {best}"),
            ("who uses this browser?", f"echo {by_kind.get('anonymous_id', best)} | {command} resolve"),
        ]
        user_id = by_kind.get("user_id", "").partition(":")[2]
        order = (
            f'{{"userId":"{user_id or "u-1"}","event":"Order Completed","properties":{{"order_id":"my-1","total":88}}}}'
        )
        found.append(("let them buy something", f"curl -u local: {ingest_url}/v1/track -d {shlex.quote(order)}"))
    sql = "SELECT stage, count(), avg(monetary_minor) / 100 FROM customers GROUP BY stage FORMAT PrettyCompact"
    found += [
        (
            "ask ClickHouse",
            f"curl '{settings.clickhouse_url}/?database={settings.clickhouse_database}' -d {shlex.quote(sql)}",
        ),
        ("why were events refused?", f"{command} rejected"),
        ("play again, and look around", f"{command} demo --keep"),
    ]
    if stays:
        found.append(("stop the stack", f"{command} down"))
    return found


def _command() -> str:
    """How this program was called, short where it can be."""
    path = Path(sys.argv[0])
    try:
        return str(path.resolve().relative_to(Path.cwd())) if path.name == "touchstream" else "touchstream"
    except ValueError:
        return str(path) if path.is_relative_to(ROOT) else "touchstream"
