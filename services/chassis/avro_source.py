"""Encoders and decoders made as Python source from a schema: the usual case of avro.py at a third of fastavro's cost.

For records of strings, bytes, ints, longs, booleans and arrays of strings or of such records, every field given and no
text of SHORT bytes or more. Anything else raises, Unusual or whatever the statement raises, and says nothing: the
caller asks fastavro, which does it or says what is wrong. So the only duty here is never to accept what fastavro
refuses, and never to write or read it differently: tests/unit/chassis_schemas/test_avro_source.py.

Every field costs a few plain statements; calls and loops, which a closure per field would need, are what is saved.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

Encode = Callable[[bytes, dict[str, Any]], bytes]
Decode = Callable[[bytes, int], tuple[dict[str, Any], int]]

# Lengths below have a table. Lower: larger profiles go the slow way. Higher: 60 bytes of memory each.
SHORT = 8_192


class Unusual(Exception):  # noqa: N818 - no error: a request to ask fastavro
    """Not the usual case."""


def encoder_of(schema: dict[str, Any]) -> Encode | None:
    """(prefix, record) → prefix and record as bytes; None when the schema has a type that is not known here."""
    lines = ["def encode(prefix, r):", f"    if len(r) != {len(schema['fields'])}: raise Unusual"]
    parts = []
    names: dict[str, Any] = {"Unusual": Unusual, "L": _LENGTHS, "number": _number, "texts": _texts, "rows": _rows}
    for i, field in enumerate(schema["fields"]):
        kind, value = _kind(field["type"]), f"r[{field['name']!r}]"
        if kind == "string":
            lines.append(f"    f{i} = {value}.encode()")
            parts.append(f"L[len(f{i})], f{i}")
        elif kind == "bytes":
            lines += [f"    f{i} = {value}", f"    if f{i}.__class__ is not bytes: raise Unusual"]
            parts.append(f"L[len(f{i})], f{i}")
        elif kind == "long":
            lines.append(f"    f{i} = {value}")
            parts.append(f"L[f{i}] if 0 <= f{i} < {SHORT} else number(f{i})")
        elif kind == "boolean":
            parts.append(f"b'\\1' if {value} else b'\\0'")
        elif kind == "texts":
            lines.append(f"    f{i} = {value}")
            parts.append(f"b'\\0' if f{i} == [] else texts(f{i})")
        elif kind == "rows" and (names.setdefault(f"e{i}", encoder_of(field["type"]["items"]))):
            lines.append(f"    f{i} = {value}")
            parts.append(f"b'\\0' if f{i} == [] else rows(f{i}, e{i})")
        else:
            return None
    lines.append(f"    return b''.join((prefix, {', '.join(parts)}))")
    made: Encode = _made(lines, names, "encode")
    return made


def decoder_of(schema: dict[str, Any]) -> Decode | None:
    """(value, place of the record) → (record, place behind it), which may lie behind the value's end: then it is
    cut off. None when the schema has a type that is not known here."""
    lines = ["def decode(v, i):"]
    parts = []
    names: dict[str, Any] = {"Unusual": Unusual, "wide": _wide, "length": _length}
    for at, field in enumerate(schema["fields"]):
        kind = _kind(field["type"])
        if kind in ("string", "bytes"):
            lines += _text(f"f{at}", "    ", kind)
        elif kind == "long":
            lines += [*_head("    "), f"    f{at} = n >> 1 ^ -(n & 1)"]
        elif kind == "boolean":
            lines += [f"    f{at} = v[i] == 1", "    if v[i] > 1: raise Unusual", "    i += 1"]
        elif kind in ("texts", "rows"):
            lines += [*_head("    "), f"    f{at} = []", "    if n:", "        if n & 1: raise Unusual"]
            lines.append("        for _ in range(n >> 1):")
            if kind == "texts":
                lines += _text("t", " " * 12, "string")
            elif names.setdefault(f"d{at}", decoder_of(field["type"]["items"])):
                lines.append(f"            t, i = d{at}(v, i)")
            else:
                return None
            lines += [f"            f{at}.append(t)", "        if v[i]: raise Unusual", "        i += 1"]
        else:
            return None
        parts.append(f"{field['name']!r}: f{at}")
    lines.append(f"    return {{{', '.join(parts)}}}, i")
    made: Decode = _made(lines, names, "decode")
    return made


def _kind(node: Any) -> str:
    if node in ("string", "bytes", "boolean", "long"):
        return str(node)
    if node == "int":
        return "long"
    if isinstance(node, dict) and node["type"] == "array":
        items = node["items"]
        if items == "string":
            return "texts"
        if isinstance(items, dict) and items["type"] == "record":
            return "rows"
    return ""


def _head(indent: str) -> list[str]:
    """Statements that read a number, not yet unzigzagged, into n."""
    return [f"{indent}n = v[i]", f"{indent}i += 1", f"{indent}if n > 127: n, i = wide(v, i)"]


def _text(target: str, indent: str, kind: str) -> list[str]:
    """Statements that read a text; a length beyond the value's end is found out by who reads on or looks at the end."""
    return [
        f"{indent}n = v[i]",
        f"{indent}i += 1",
        f"{indent}if n & 129: n, i = length(v, i)",
        f"{indent}j = i + (n >> 1)",
        f"{indent}{target} = v[i:j]{'.decode()' if kind == 'string' else ''}",
        f"{indent}i = j",
    ]


def _made(lines: list[str], names: dict[str, Any], name: str) -> Any:
    # The text holds nothing but what stands above and, as literals, the field names of our own schema files.
    exec(compile("\n".join(lines), f"<avro {name}>", "exec"), names)
    return names[name]


def _zigzag(number: int) -> bytes:
    left = number << 1 ^ number >> 63
    out = bytearray()
    while left > 127:
        out.append(left & 127 | 128)
        left >>= 7
    out.append(left)
    return bytes(out)


_LENGTHS = tuple(map(_zigzag, range(SHORT)))


# Typed: 1.0 is no int. Times repeat: all records of a batch have one of decision, most events the same one twice.
@lru_cache(maxsize=1_024, typed=True)
def _number(number: int) -> bytes:
    if not -(1 << 63) <= number < 1 << 63:
        raise Unusual
    return _zigzag(number)


def _texts(items: list[str]) -> bytes:
    if not len(items):  # not `if not items`: None has no length, and fastavro says so
        return b"\0"
    out = [_LENGTHS[len(items)]]
    for item in items:
        text = item.encode()
        out += (_LENGTHS[len(text)], text)
    out.append(b"\0")
    return b"".join(out)


def _rows(items: list[dict[str, Any]], encode: Encode) -> bytes:
    if not len(items):
        return b"\0"
    return b"".join([_LENGTHS[len(items)], *[encode(b"", item) for item in items], b"\0"])


def _wide(value: bytes, place: int) -> tuple[int, int]:
    """(number, place behind it) of a number of several bytes whose first one stands before `place`."""
    number, shift = value[place - 1] & 127, 7
    for byte in value[place : place + 9]:
        place += 1
        if byte < 128:
            number |= byte << shift
            if number >= 1 << 64:
                raise Unusual
            return number, place
        number |= (byte & 127) << shift
        shift += 7
    raise Unusual


def _length(value: bytes, place: int) -> tuple[int, int]:
    """The same for a length that takes several bytes, or is negative: that no text has."""
    number, place = _wide(value, place) if value[place - 1] > 127 else (value[place - 1], place)
    if number & 1:
        raise Unusual
    return number, place
