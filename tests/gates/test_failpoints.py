"""Every step is in the catalogue, everything in the catalogue is a step, and no driver is called without steps."""

from pathlib import Path

import pytest

from services.chassis import failpoints
from tests.gates.failpoint_scan import Place, service_of, steps, unguarded

REPO = Path(__file__).resolve().parents[2]

COMMAND = "an operator's command; no service calls it"
REBUILD = "an operator's rebuild of an empty Redis; one that was interrupted begins anew"
AROUND = "its caller stands around it: "
# What has no steps of its own, and why. An entry that is not needed any more is a failure too.
EXEMPT = {
    "services/chassis/clickhouse.py::Clickhouse._context": AROUND + "insert",
    "services/chassis/clickhouse.py::Clickhouse.close": "nothing outside changes",
    "services/chassis/clickhouse.py::Clickhouse.ping": COMMAND,
    "services/chassis/clickhouse.py::Clickhouse.stream_rows": COMMAND,
    "services/chassis/kafka/offsets.py::_ask_offsets": AROUND + "first_offsets, end_offsets",
    "services/chassis/kafka/offsets.py::_ends": AROUND + "end_offsets",
    "services/chassis/kafka/offsets.py::read_on": COMMAND,
    "services/chassis/kafka/reader.py::Reader.__init__": AROUND + "ask_broker",
    "services/chassis/kafka/reader.py::Reader.end": "the client's memory",
    "services/chassis/kafka/reader.py::Reader.pause": "the client's memory",
    "services/chassis/kafka/reader.py::Reader.resume": "the client's memory",
    "services/chassis/kafka/relay.py::Relay._flush": AROUND + "send",
    "services/chassis/kafka/relay.py::Relay._produce": AROUND + "send",
    "services/chassis/kafka/streams.py::Streams.__init__": REBUILD,
    "services/chassis/kafka/streams.py::Streams._pause": REBUILD,
    "services/chassis/kafka/streams.py::Streams._pump": REBUILD,
    "services/chassis/kafka/streams.py::Streams._resume": REBUILD,
    "services/chassis/kafka/streams.py::Streams.close": REBUILD,
    "services/chassis/redis/amend.py::amend": COMMAND,
    "services/chassis/redis/amend.py::look": COMMAND,
    "services/chassis/redis/client.py::_config": AROUND + "assert_durable",
    "services/chassis/redis/inspect.py::foreign": COMMAND,
    "services/chassis/redis/inspect.py::is_unsent": COMMAND,
    "services/chassis/redis/inspect.py::ledgers": COMMAND,
    "services/chassis/redis/inspect.py::registered": COMMAND,
    "services/chassis/redis/inspect.py::scan_keys": COMMAND,
    "services/chassis/redis/inspect.py::standings": COMMAND,
    "services/chassis/redis/rebase.py::rebase": COMMAND,
    "services/chassis/redis/rebuild.py::begin": REBUILD,
    "services/chassis/redis/rebuild.py::finish": REBUILD,
    "services/chassis/redis/rebuild.py::open_ledger": REBUILD,
    "services/chassis/registry.py::ConfluentRegistry._look_up_or_register": AROUND + "_ask",
    "services/chassis/registry.py::ConfluentRegistry.text_of": AROUND + "_ask",
    "services/chassis/topics.py::_check_configs": COMMAND,
    "services/chassis/topics.py::_check_partitions": COMMAND,
    "services/chassis/topics.py::_create": COMMAND,
    "services/chassis/topics.py::create_topics": COMMAND,
    "services/identity/adapters.py::_stored": COMMAND,
    "services/identity/policies.py::versions": COMMAND,
    "services/identity/rebuild/again.py::homes": COMMAND,
    "services/identity/rebuild/replay.py::Rebuild._begin": REBUILD,
    "services/identity/rebuild/replay.py::Rebuild._bury": REBUILD,
    "services/identity/rebuild/replay.py::Rebuild._close": REBUILD,
    "services/identity/rebuild/requests.py::_raw": REBUILD,
    "services/ingest/adapters.py::KafkaPublisher.close": AROUND + "server.serve (drain)",
    "services/notify/__main__.py::serve": "nothing outside changes",
    "services/notify/channels/email.py::EmailSender.send": AROUND + "Lane._deliver",
    "services/notify/channels/webhook.py::WebhookSender.close": "nothing outside changes",
    "services/notify/channels/webhook.py::WebhookSender.send": AROUND + "Lane._deliver",
    "services/notify/channels/wecom.py::WecomSender.close": "nothing outside changes",
    "services/notify/channels/wecom.py::WecomSender.send": AROUND + "Lane._deliver",
    "services/notify/driver.py::App.look": "the client's memory",
    "services/notify/driver.py::App.publish": "_Producer.publish has them",
    "services/notify/driver.py::_ConsumerThread._create_worker_consumer": "nothing is connected yet",
    "services/notify/handler/lane.py::Lane._send": AROUND + "_deliver",
    "services/notify/handler/notifier.py::Notifier.stop": "nothing outside changes",
    "services/notify/rebuild.py::Rebuild._accept_batch": REBUILD,
    "services/notify/rebuild.py::Rebuild._open_ones": REBUILD,
    "services/notify/rebuild.py::Rebuild._remember": REBUILD,
    "services/notify/rebuild.py::Rebuild._take_in": REBUILD,
    "services/notify/rebuild.py::Rebuild.remember": REBUILD,
}


# What is no part of a running service: questions to a broker, what it may be trusted with.
COMMANDS = ("services/chassis/kafka/trust/",)


def differences(root: Path) -> list[str]:
    """What the code names and the catalogue does not, and the other way round."""
    services = {service for point in failpoints.catalogue() for service in point.services}
    listed = {(service, point.step) for point in failpoints.catalogue() for service in point.services}
    named = {(service_of(found.place.path), found.step): found.place for found in steps(root)}
    wrong = [f"{found.place}: a step is a text in quotes" for found in steps(root) if not found.step]
    for (service, step), place in named.items():
        owners = {service} if service else services
        if step and not any((owner, step) in listed for owner in owners):
            wrong.append(f"{place}: {step} is not in the catalogue")
    for service, step in sorted(listed):
        if (service, step) not in named and ("", step) not in named:
            wrong.append(f"catalogue: {service}.{step} is nowhere in the code")
    return wrong


def without_steps(root: Path) -> list[str]:
    """Functions that call a driver, have no steps around it and no excuse; and excuses that nobody needs."""
    found = {str(place) for place in unguarded(root) if not place.path.startswith(COMMANDS)}
    return sorted(found - EXEMPT.keys()) + [f"{place}: needs no exemption" for place in sorted(EXEMPT.keys() - found)]


def test_the_code_and_the_catalogue_name_the_same_failpoints() -> None:
    assert differences(REPO) == []


def test_no_driver_is_called_without_steps_around_it() -> None:
    assert without_steps(REPO) == []


@pytest.mark.parametrize(
    ("path", "text", "named"),
    [
        ("services/rules/adapters.py", "def f():\n    fp('before_coffee')\n", "f: before_coffee is not in the catal"),
        ("services/rules/adapters.py", "def f():\n    fp('before_accept')\n", "before_accept is not in the catalogue"),
        ("services/chassis/x.py", "async def f():\n    await fp_async(name)\n", "f: a step is a text in quotes"),
        ("services/chassis/x.py", "pass\n", "catalogue: identity.before_purge is nowhere in the code"),
    ],
)
def test_a_planted_difference_is_named(tmp_path: Path, path: str, text: str, named: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert any(named in line for line in differences(tmp_path))


@pytest.mark.parametrize(
    "body",
    [
        "self._client.set('a', 1)",
        "self._consumer.commit()",
        "self._connected().command('x')",
        "fp('before_x'); self._client.set('a', 1)",
        "self._client.set('a', 1); fp('after_x')",
        "self._script = client.register_script('x')\n        self._script()",
    ],
)
def test_a_planted_effect_without_steps_is_named(tmp_path: Path, body: str) -> None:
    path = tmp_path / "services" / "rules" / "adapters.py"
    path.parent.mkdir(parents=True)
    lines = body.replace("; ", "\n        ")
    path.write_text(f"class Store:\n    def put(self):\n        {lines}\n")
    assert unguarded(tmp_path) == [Place("services/rules/adapters.py", "Store.put")]


def test_an_effect_between_steps_passes(tmp_path: Path) -> None:
    path = tmp_path / "services" / "rules" / "adapters.py"
    path.parent.mkdir(parents=True)
    path.write_text("def put(client):\n    fp('before_x')\n    client.set('a', 1)\n    fp('after_x')\n")
    assert unguarded(tmp_path) == []
