-- Move a drained ledger to another log. KEYS: ledger hash, outbox, waits. ARGV: cluster id, topic id, first offset.
if redis.call('LLEN', KEYS[2]) > 0 or redis.call('HLEN', KEYS[3]) > 0 then return 'BUSY' end
if redis.call('EXISTS', KEYS[1]) == 0 then return 'NONE' end
local m = redis.call('HMGET', KEYS[1], 'cluster', 'topic')
if m[1] == ARGV[1] and m[2] == ARGV[2] then return 'SAME' end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HSET', KEYS[1], 'cluster', ARGV[1], 'topic', ARGV[2], 'position', ARGV[3], 'blob', '', 'batch', epoch .. '.0',
  'tries', -1, 'tries_position', ARGV[3])
return 'OK'
