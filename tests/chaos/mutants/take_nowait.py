"""profile: a customer that should wait for what another one gives goes on without it."""

from collections.abc import Callable

from services.profile.core.customer_log import Context, CustomerState, Fact, Handover, LogRecord
from tests.chaos.mutants.launch import launch, replace

Take = Callable[[CustomerState, LogRecord, Context, list[Fact]], bool]


def hasty(take: Take) -> Take:
    """As it was, and what is not there is nothing."""

    def at_once(state: CustomerState, record: LogRecord, context: Context, facts: list[Fact]) -> bool:
        key = context.give_key(record.from_id, record.handoff_id, record.customer_id)
        if key not in context.gives and key not in context.handed_over:
            context.handed_over = {**context.handed_over, key: Handover({}, None)}
        return take(state, record, context, facts)

    return at_once


if __name__ == "__main__":
    replace("services.profile.core.customer_log", "_take", hasty)
    launch("services.profile")
