"""Two requests that no client library lets one repeat: a producer id, and a batch with a sequence number of our choice.

Layouts are those of Kafka's protocol guide: InitProducerId version 3 (Tansu knows no older), Produce version 3,
record batch magic 2.
"""

import socket
import struct
import time

from services.chassis.kafka.trust.probe import TIMEOUT_S, BrokenError

_PRODUCE, _INIT_PRODUCER_ID = (0, 3), (22, 3)
_NO_TAGS, _NULL = b"\0", b"\0"
_CLIENT = b"touchstream-check"
# CRC-32C, which the batch carries; the standard library has only the other polynomial.
_POLYNOMIAL = 0x82F63B78


class Wire:
    """A connection to one broker."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_S)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def producer_id(self) -> tuple[int, int]:
        """A new producer id and its epoch."""
        # No transactional id, a time-out for transactions, no id so far; tags end the header and the body.
        answer = self._ask(_INIT_PRODUCER_ID, _NO_TAGS + _NULL + struct.pack(">iqh", 60_000, -1, -1) + _NO_TAGS)
        _, error, number, epoch = struct.unpack_from(">ihqh", answer, len(_NO_TAGS))
        if error:
            raise BrokenError(f"InitProducerId answers error {error}")
        return int(number), int(epoch)

    def produce(self, topic: str, producer: tuple[int, int], sequence: int, values: list[bytes]) -> int:
        """Write a batch to partition 0 with acks=all; the error code of the answer."""
        name, batch = topic.encode(), _batch(producer, sequence, values)
        places = struct.pack(">ih", 1, len(name)) + name + struct.pack(">iii", 1, 0, len(batch)) + batch
        answer = self._ask(_PRODUCE, struct.pack(">hhi", -1, -1, int(TIMEOUT_S * 1000)) + places)
        # One topic, its name, one partition: its index, error, offset, time.
        _, error = struct.unpack_from(">ih", answer, 4 + 2 + len(name) + 4)
        return int(error)

    def _ask(self, api: tuple[int, int], body: bytes) -> bytes:
        header = struct.pack(">hhih", *api, 1, len(_CLIENT)) + _CLIENT
        self._socket.sendall(struct.pack(">i", len(header + body)) + header + body)
        (length,) = struct.unpack(">i", self._read(4))
        return self._read(length)[4:]

    def _read(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            more = self._socket.recv(count - len(read))
            if not more:
                raise BrokenError("the broker closed the connection instead of answering")
            read += more
        return read


def _batch(producer: tuple[int, int], sequence: int, values: list[bytes]) -> bytes:
    now_ms = int(time.time() * 1000)
    records = b"".join(_record(place, value) for place, value in enumerate(values))
    last = len(values) - 1
    checked = struct.pack(">hiqqqhii", 0, last, now_ms, now_ms, *producer, sequence, len(values)) + records
    after_length = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(after_length)) + after_length


def _record(place: int, value: bytes) -> bytes:
    body = b"\0" + _varint(0) + _varint(place) + _varint(-1) + _varint(len(value)) + value + _varint(0)
    return _varint(len(body)) + body


def _varint(number: int) -> bytes:
    rest, out = (number << 1) ^ (number >> 63), b""
    while rest > 0x7F:
        out += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return out + bytes([rest])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
