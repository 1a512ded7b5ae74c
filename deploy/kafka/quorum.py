"""Which node's controller is active: the request DescribeQuorum, which the Kafka client of the services does not know.

The layout is that of DescribeQuorumRequest.json and DescribeQuorumResponse.json, version 0, in Kafka's sources:
integers big-endian, lengths of compact strings and arrays as a varint of length + 1, tagged fields (none) after each
level.
"""

import socket
import struct

_API_KEY, _VERSION, _TIMEOUT_S = 55, 0, 2.0
_CLIENT = b"touchstream"
_TOPIC = b"__cluster_metadata"


def active_controller(host: str, port: int) -> int:
    """The node id of the leader of the metadata log as this broker has it; -1 when it does not answer or has none."""
    header = struct.pack(">hhih", _API_KEY, _VERSION, 1, len(_CLIENT)) + _CLIENT + b"\0"
    partitions = b"\2" + struct.pack(">i", 0) + b"\0"
    body = b"\2" + bytes([len(_TOPIC) + 1]) + _TOPIC + partitions + b"\0" + b"\0"
    request = header + body
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", _read(connection, 4))
            return _leader(_read(connection, length))
    except OSError:
        return -1


def _leader(answer: bytes) -> int:
    # Header: correlation id, tags. Body: error, then one topic with one partition: index, error, leader.
    start = 4 + 1
    (error,) = struct.unpack_from(">h", answer, start)
    if error:
        return -1
    at = start + 2 + 1 + 1 + len(_TOPIC) + 1
    index, error, leader = struct.unpack_from(">ihi", answer, at)
    if index != 0:
        raise ValueError(f"DescribeQuorum answered for partition {index}: {answer.hex()}")
    return -1 if error else int(leader)


def _read(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = connection.recv(count - len(read))
        if not more:
            raise ConnectionError("closed in the middle of an answer")
        read += more
    return read
