-- KEYS: ledger hash, outbox list, waits hash, due sorted set.
-- ARGV: epoch, batch, position, next position, trim, blob, outbox entry, log_ms, then five counted lists:
--   sets (key, value)…, deletes key…, due (score, member)…, undue member…, waits (member, key)…, unwaits member…
local why = refused(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
if why then return why end
local at = 9
local function list()
  local count, out = tonumber(ARGV[at]), {}
  for i = 1, count do out[i] = ARGV[at + i] end
  at = at + count + 1
  return out
end
local sets, deletes, due, undue, waits, unwaits = list(), list(), list(), list(), list(), list()
-- A script is not undone when a command fails: whatever could fail is looked at before the first write.
if at ~= #ARGV + 1 or #sets % 2 + #due % 2 + #waits % 2 > 0 then
  return redis.error_reply('ledger: argument lists do not add up')
end
for i = 1, #due, 2 do
  if not tonumber(due[i]) then return redis.error_reply('ledger: a moment is no number') end
end
local tag = string.match(KEYS[1], '^{.-}')
local function is_foreign(key) return string.sub(key, 1, #tag) ~= tag end
for i = 1, #sets, 2 do
  if is_foreign(sets[i]) then return redis.error_reply('ledger: a key of another slot') end
end
for i = 1, #deletes do
  if is_foreign(deletes[i]) then return redis.error_reply('ledger: a key of another slot') end
end
chunked('MSET', nil, sets, 2)
chunked('DEL', nil, deletes, 1)
chunked('ZADD', KEYS[4], due, 2)
chunked('ZREM', KEYS[4], undue, 1)
chunked('HSET', KEYS[3], waits, 2)
chunked('HDEL', KEYS[3], unwaits, 1)
commit(KEYS[1], KEYS[2], ARGV[2], ARGV[4], ARGV[6], tonumber(ARGV[5]), ARGV[7], ARGV[8])
return 'OK'
