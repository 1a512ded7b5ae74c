-- KEYS: ledger hash, outbox list, waits hash. ARGV: cluster id, topic id, position of a ledger that is new ('': there
-- must be one).
local m = redis.call('HMGET', KEYS[1], 'version', 'cluster', 'topic')
if not m[1] then
  if ARGV[3] == '' then return {'NONE'} end
  redis.call('HSET', KEYS[1], 'version', '1', 'generation', '1', 'cluster', ARGV[1], 'topic', ARGV[2], 'epoch', '0',
    'position', ARGV[3], 'batch', '', 'blob', '', 'tries', '-1', 'tries_position', ARGV[3])
elseif m[1] ~= '1' or m[2] ~= ARGV[1] or m[3] ~= ARGV[2] then
  return {'FOREIGN', m[1], m[2], m[3]}
end
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
local t = redis.call('HMGET', KEYS[1], 'position', 'tries_position')
if t[1] == t[2] then
  redis.call('HINCRBY', KEYS[1], 'tries', 1)
else
  redis.call('HSET', KEYS[1], 'tries', 0, 'tries_position', t[1])
end
return {'OK', redis.call('HMGET', KEYS[1], 'epoch', 'generation', 'position', 'blob', 'tries', 'batch'),
  redis.call('LRANGE', KEYS[2], 0, -1), redis.call('HGETALL', KEYS[3])}
