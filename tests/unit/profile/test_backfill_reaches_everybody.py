"""A changed file reaches everybody: who has a timer, who has none, and nobody twice."""

from cli.tags.backfill import Backfill
from services.chassis.avro import Codec
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.handler import ProfileHandler
from services.profile.states import Packer
from services.profile.sweep import Sweep
from tests.regression.test_customer_log import SLOT, event
from tests.unit.profile.profile_builders import CUTS, NOW_MS, config_with

# Conditions that time does not change: nobody has a timer.
STAGES = [
    {"stage": stage, "if": "orders() > 99"} for stage in ("churned", "dormant", "loyal", "repeat", "first_purchase")
] + [{"stage": "prospect"}]
BEFORE = config_with(stages=STAGES)
AFTER = config_with(stages=STAGES, tags={"visitor": {"if": "interactions() >= 1"}})
NAMES = [f"customer-{number}" for number in range(5)]


class Redis:
    """What the command asks of Redis, and a profile that works off what is laid before it."""

    def __init__(self, config):
        self.ledger, self.told = FakeLedger(), []
        self.strings = self.ledger.connection.server.strings
        self.start(config)

    def start(self, config):
        """Profile starts with this file."""
        self._handler = ProfileHandler(SLOT, self.ledger, {}, config, 1, lambda: CUTS, 0)
        self._sweep = Sweep(SLOT, self.ledger, lambda: CUTS, self._handler.refolds)

    def decide(self, records, ticks=()):
        decision = self._handler.decide(list(records), list(ticks), NOW_MS)
        if decision is not None:
            self.strings |= decision.sets
            self.told += [one for one in decision.outputs if one.topic == "profile.changes"]
        return decision

    def round(self):
        """Looks at whom timers or the command name."""
        self.decide([], self._sweep.some())

    def scan(self, cursor, match, count):
        return 0, [key.encode() for key in self.strings if ":c:" in key]

    def mget(self, keys):
        return [self.strings.get(key) for key in keys]

    def set(self, key, value, nx):
        self.strings.setdefault(key, value)
        self.round()


def state_of(redis, name):
    return Packer().decode(redis.strings[SLOT.key("c", name)])


def test_customers_without_a_timer_are_judged_by_a_changed_file():
    redis = Redis(BEFORE)
    redis.decide([event(name, 1, f"1.0.{number}") for number, name in enumerate(NAMES)])
    assert all(state_of(redis, name).due_ms == 0 for name in NAMES)
    redis.start(AFTER)
    redis.told.clear()
    redis.round()  # no timer, no look
    assert [state_of(redis, name).conclusion.tags.keys() for name in NAMES] == [set()] * len(NAMES)

    work, done = Backfill(redis, None, AFTER, 1), []
    owed = work.left()
    assert sorted(one.customer_id for one in owed) == NAMES
    assert work.run(owed, done.append) == []

    assert sum(done) == len(NAMES)
    assert work.left() == []
    assert [state_of(redis, name).conclusion.tags.keys() for name in NAMES] == [{"visitor"}] * len(NAMES)
    changes = [Codec("profile_change").decode(one.value) for one in redis.told]
    assert sorted((one["customer_id"], one["is_import"]) for one in changes) == [(name, True) for name in NAMES]


def test_a_file_that_says_the_same_owes_nobody_anything():
    redis = Redis(AFTER)
    redis.decide([event(name, 1, f"1.0.{number}") for number, name in enumerate(NAMES)])
    assert Backfill(redis, None, AFTER, 1).left() == []
