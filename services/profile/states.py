"""A customer's state as bytes in Redis: msgpack, packed with zstd and a dictionary that the program ships.

The first byte says how: PACKED, or that of a msgpack array, as states were stored before and a cache may keep them. A
dictionary that has packed anything never changes: another one gets another first byte, and the old one stays.
"""

from importlib.resources import files

import msgspec
import zstandard

from services.chassis.errors import Fatal
from services.profile.core.customer_log import CustomerState

# No byte that a state could begin with unpacked: there it is 0x90 to 0x9f.
PACKED = b"\x01"
# Of a state of 1 KB: higher levels take twice the time and save 2 % more; negative ones save 10 % less.
LEVEL = 1
DICTIONARY = files("services.profile").joinpath("states.zdict")
# Not the canonical encoder: numbers are keys here, and only parts must give equal bytes for equal content.
encode_state = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CustomerState).decode


class Packer:
    """Packs and unpacks; for one thread, because it keeps zstd's working memory."""

    def __init__(self, words: bytes | None = None) -> None:
        """words: another dictionary than the one in use (tests/bench/state_dictionary.py makes them)."""
        dictionary = zstandard.ZstdCompressionDict(words or DICTIONARY.read_bytes())
        shape = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, source_size=1_000, dict_size=len(dictionary), format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_dict_id=False, write_content_size=True,
        )  # fmt: skip
        dictionary.precompute_compress(compression_params=shape)
        self._pack = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=shape).compress
        self._unpack = zstandard.ZstdDecompressor(
            dict_data=dictionary, format=zstandard.FORMAT_ZSTD1_MAGICLESS
        ).decompress

    def pack(self, plain: bytes) -> bytes:
        """What is stored of an encoded state: 40 % of it for people, 65 % where hundreds of orders are kept."""
        return PACKED + self._pack(plain)

    def unpack(self, raw: bytes) -> bytes:
        """The encoded state; one that is not packed comes back as it is. Raises zstandard.ZstdError on other bytes."""
        return self._unpack(raw[1:]) if raw[:1] == PACKED else raw

    def decode(self, raw: bytes) -> CustomerState:
        """The state of bytes from Redis. Raises msgspec.DecodeError or zstandard.ZstdError on others."""
        return _decode(self.unpack(raw))

    def read(self, raw: bytes, customer_id: str) -> CustomerState:
        """The same for who must go on with it. Raises Fatal on what another release has written."""
        try:
            return self.decode(raw)
        except (msgspec.DecodeError, zstandard.ZstdError) as error:
            raise Fatal(
                f"the state of customer {customer_id} in Redis cannot be read ({error}): another release wrote it."
                " Nothing was changed; `touchstream rebuild` makes all states anew, or start that release again"
            ) from error
