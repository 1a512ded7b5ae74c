"""What a script sees and answers is the same in process and on a real Valkey, byte for byte."""

import pytest
import redis
from redis.exceptions import ResponseError

from services.chassis.testing.lua_server import LuaServer

MANY = "local many = {} for i = 1, 20 do many[i] = i end "
INTEGERS = "0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, -1, -32, -33, -128"
TEXTS = "'', string.rep('a', 31), string.rep('b', 32), string.rep('c', 256), string.rep('d', 70000)"
POLICY = (
    b"\x87\xa1a\x07\xa1m\x82\x01\x05\x04\xc3\xa3big\xcf\x00\x00\x01\x97\x95\xd8\xe0\x00\xa4text\xd9\x03abc"
    b"\xa4list\x93\x01\xcd\x01\x00\xff\xa4none\xc0\xa2no\xc2"
)
COMMANDS = """
local tag, out = KEYS[1], {}
local function add(...) out[#out + 1] = redis.call(...) end
add('HSET', tag .. 'h', 'a', 1, 'b', 'x')
add('HINCRBY', tag .. 'h', 'a', 4)
add('HMGET', tag .. 'h', 'a', 'none', 'b')
add('HDEL', tag .. 'h', 'b', 'none')
add('HLEN', tag .. 'h')
add('HGETALL', tag .. 'h')
add('RPUSH', tag .. 'l', 'a', 'b', 'c')
redis.call('LTRIM', tag .. 'l', 1, -1)
add('LRANGE', tag .. 'l', 0, -1)
add('LINDEX', tag .. 'l', -1)
add('LINDEX', tag .. 'none', -1)
add('LLEN', tag .. 'l')
add('SADD', tag .. 's', 'b', 'a', 'a')
add('SMISMEMBER', tag .. 's', 'a', 'z')
add('SREM', tag .. 's', 'a', 'z')
add('SMEMBERS', tag .. 's')
redis.call('ZADD', tag .. 'z', 5, 'one', 3, 'two')
add('ZREM', tag .. 'z', 'one', 'none')
redis.call('MSET', tag .. 'k', ARGV[1], tag .. 'n', 12345678901234)
add('MGET', tag .. 'k', tag .. 'none', tag .. 'n')
add('DEL', tag .. 'k', tag .. 'none')
add('UNLINK', tag .. 's')
add('EXISTS', tag .. 's')
add('EXISTS', tag .. 'h')
add('GET', tag .. 'n')
add('GET', tag .. 'k')
return out
"""
SCRIPTS = {
    "numbers are cut off": ("return {3.9, -3.9, 2^31, 7}", []),
    "what is missing": ("return {redis.call('GET', KEYS[1]), 1}", []),
    "a list ends at nil": ("return {1, nil, 3}", []),
    "truth": ("return {true, false, 5}", []),
    "nothing": ("return nil", []),
    "a text": ("return ARGV[1] .. KEYS[1]", [b"\0\xff", b"x"]),
    "numbers are numbers again": ("return tonumber(ARGV[1]) + 1", [b"9007199254740990"]),
    "nested lists": ("return {{1, 'a'}, {}, {{2}}}", []),
    "struct packs": (
        "return struct.pack('>I4BBI8c16B', 7, 101, 2, tonumber(ARGV[1]), ARGV[2], 3)",
        [b"1750000000000", b"m" * 16],
    ),
    "struct packs six bytes": ("return struct.pack('>I2I6', 513, 1099511627775)", []),
    "struct packs a part": ("return struct.pack('>c3', 'abcdef')", []),
    "struct unpacks": ("return {struct.unpack('>I4c2I2', ARGV[1], 2)}", [b"x\0\1\0\2ab\3\4rest"]),
    "struct wants it all": ("return {struct.unpack('>I4c2I2', ARGV[1])}", [b"short"]),
    "struct wants a text of that length": ("return struct.pack('>c9', 'abc')", []),
    "cmsgpack of integers": (f"return cmsgpack.pack({{{INTEGERS}}})", []),
    "cmsgpack of texts": (f"return cmsgpack.pack({{{TEXTS}}})", []),
    "cmsgpack of lists": (f"{MANY} return cmsgpack.pack({{{{}}, {{{{1}}}}, many, true, false}})", []),
    "cmsgpack of decisions": (
        "return cmsgpack.pack({tonumber(ARGV[1]), '', {{0, 'G', ARGV[2], 3, 0, {}}}})",
        [b"70000", b"\xff" * 16],
    ),
    "cmsgpack reads a policy": (
        "local p = cmsgpack.unpack(ARGV[1]) "
        "return {p.a, p.m[1], p.m[4] and 1 or 0, p.big, p.text, #p.list, p.none == nil}",
        [POLICY],
    ),
    "sha1": ("return redis.sha1hex(ARGV[1])", [b"\0abc"]),
    "an error": ("return redis.error_reply('ledger: no')", []),
    "a new global": ("x = 1 return x", []),
    "an unknown global": ("return nowhere", []),
    "every command of ours": (COMMANDS, [b"\xff\0"]),
}


def answered(ask: object, text: str, arguments: list[bytes]) -> object:
    """The answer, or that there was an error."""
    try:
        return ask(text, ["{t}:key"], arguments)  # type: ignore[operator]
    except ResponseError as error:
        return "error", "ledger: no" in str(error)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_answers_as_on_a_server(name: str, valkey_url: str) -> None:
    text, arguments = SCRIPTS[name]
    real = redis.Redis.from_url(valkey_url)
    real.flushall()
    on_server = answered(lambda script, keys, args: real.eval(script, len(keys), *keys, *args), text, arguments)
    real.close()
    assert answered(LuaServer().run_script, text, arguments) == on_server
