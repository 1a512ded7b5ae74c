"""A tally that had lost all its orders stayed behind empty: the same events in another order gave another state."""

from itertools import permutations
from unittest.mock import patch

from services.profile.core import orders
from services.profile.core.state import encode
from tests.unit.profile.profile_builders import event, part_of, purchase


def test_a_part_whose_orders_are_forgotten_is_the_same_whatever_came_first() -> None:
    told = purchase(3, order_id="A")
    line = event("Order Line Completed", 3, order_id="A")
    with patch.object(orders, "MAX_ENTRIES", 1):
        found = {encode(part_of(*some)) for some in permutations([told, line, purchase(5), purchase(5)])}
    assert len(found) == 1
