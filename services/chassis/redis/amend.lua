-- An operator's word on a ledger of the same log: another position, other numbers; former owners are fenced.
-- KEYS: ledger hash. ARGV: cluster id, topic id, position and blob as they were read, position and blob to be.
local m = redis.call('HMGET', KEYS[1], 'version', 'cluster', 'topic', 'position', 'blob')
if m[1] ~= '1' or m[2] ~= ARGV[1] or m[3] ~= ARGV[2] then return 'FOREIGN' end
if m[4] ~= ARGV[3] or m[5] ~= ARGV[4] then return 'MOVED' end
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'position', ARGV[5], 'blob', ARGV[6], 'tries', -1, 'tries_position', ARGV[5])
return 'OK'
