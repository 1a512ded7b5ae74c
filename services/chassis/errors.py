"""The three kinds of failure. Everything a service raises on purpose is one of them."""


class Poison(Exception):  # noqa: N818 - the field's word for a record that can never be processed
    """One record can never be processed: it goes to the dead-letter topic with its evidence, the line goes on."""


class Retriable(Exception):  # noqa: N818
    """Something outside is not answering: back off; the partition waits, nothing is skipped."""


class Fatal(Exception):  # noqa: N818
    """Going on would be wrong: the process stops with a text that says what the operator can change."""


class Fenced(Retriable):
    """Another owner has claimed the partition: drop every cache and claim again when it is assigned again."""
