"""What stands under an identifier in the graph, in each of its forms."""

import pytest

from services.identity.core.homes import Home, parse_home

CUSTOMER, NODE, DAY = b"-" + b"c" * 15, b"\x04" + b"n" * 16, b"\x50\x00"


@pytest.mark.parametrize(
    ("raw", "home"),
    [
        (CUSTOMER, Home(CUSTOMER)),
        (CUSTOMER + DAY, Home(CUSTOMER)),
        (CUSTOMER + NODE, Home(CUSTOMER, NODE)),
        (CUSTOMER + DAY + NODE, Home(CUSTOMER, NODE)),
        (b"-", Home(b"")),
        (b"-\0" + NODE, Home(b"", NODE)),
    ],
)
def test_a_customer_may_have_a_day_and_another_node_behind_it(raw: bytes, home: Home) -> None:
    assert parse_home(raw) == home
