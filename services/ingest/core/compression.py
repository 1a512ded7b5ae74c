"""Bodies: plain or gzip, told apart by the first two bytes. Senders mislabel both, and a bomb must not be unpacked."""

import zlib

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31


class TooLargeError(Exception):
    """The unpacked body is larger than allowed; at most limit + 1 bytes of it were made."""


class BrokenError(Exception):
    """The body is no complete gzip stream."""


def unpack(body: bytes, limit_bytes: int) -> bytes:
    """The body, unpacked where it is gzip (several members follow each other). Raises TooLargeError, BrokenError.

    JSON never begins with the magic, so the header Content-Encoding need not be asked: RudderStack's Node SDK sends
    gzip as a form, and proxies unpack without taking the header away.
    """
    if not body.startswith(GZIP_MAGIC):
        if len(body) > limit_bytes:
            raise TooLargeError
        return body
    parts: list[bytes] = []
    room = limit_bytes + 1
    rest = body
    while rest.startswith(GZIP_MAGIC):
        stream = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = stream.decompress(rest, room)
        except zlib.error as error:
            raise BrokenError(str(error)) from error
        parts.append(part)
        room -= len(part)
        if room <= 0:
            raise TooLargeError
        if not stream.eof:
            raise BrokenError("gzip stream ends too early")
        rest = stream.unused_data
    return b"".join(parts)
