-- Which policy holds, and since when: the version is told once, by whoever first works under it.
-- KEYS: hash (version, number, since_ms), list of all versions.  ARGV: version, now_ms.
-- Answer: {number, version before or ''}; the same version again changes nothing: {number, version}.
local before = redis.call('HGET', KEYS[1], 'version') or ''
if before == ARGV[1] then return {tonumber(redis.call('HGET', KEYS[1], 'number')), before} end
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or 0) + 1
redis.call('RPUSH', KEYS[2], cmsgpack.pack({number, ARGV[1], tonumber(ARGV[2]), before}))
redis.call('HSET', KEYS[1], 'number', number, 'version', ARGV[1], 'since_ms', ARGV[2])
return {number, before}
