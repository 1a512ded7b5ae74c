"""An append-only file is cut where the rig believes its commands to begin and end."""

import pytest

from tests.chaos.rig.aof import read_commands, transactions


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


SCRIPT = [command(b"MULTI"), command(b"SET", b"a", b"x\r\n*1\r\n"), command(b"HSET", b"b", b"", b"1"), command(b"EXEC")]


def test_commands_are_found_whatever_their_values_hold() -> None:
    data = b"".join(SCRIPT)
    found = read_commands(data)
    assert [item.name for item in found] == [b"MULTI", b"SET", b"HSET", b"EXEC"]
    assert [data[item.begin : item.end] for item in found] == SCRIPT


def test_what_is_cut_off_is_no_command() -> None:
    data = b"".join(SCRIPT)
    ends = [item.end for item in read_commands(data)]
    for size in range(len(data)):
        assert [item.end for item in read_commands(data[:size])] == [end for end in ends if end <= size]


def test_a_transaction_counts_when_it_is_whole() -> None:
    single = command(b"select", b"0")
    data = single + b"".join(SCRIPT) + b"".join(SCRIPT[:-1])
    assert transactions(read_commands(data)) == [(len(single), len(single) + len(b"".join(SCRIPT)))]


def test_bytes_that_are_no_command_are_refused() -> None:
    with pytest.raises(ValueError, match="byte 14 of an append-only file"):
        read_commands(command(b"EXEC")[:-1] + b"\nrubbish\r\n")
