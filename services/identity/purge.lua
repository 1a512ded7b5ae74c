-- Forget message ids that no partition can meet again inside the window: measured by the log time of the slowest
-- partition, never by a clock, so that a replay after a long outage still finds them.
-- ARGV: tag, window_ms, bucket_ms, then the ledger hashes of all partitions. Answer: number of buckets forgotten.
local low = nil
for i = 4, #ARGV do
  local log_ms = redis.call('HGET', ARGV[i], 'log_ms')
  if not log_ms then return 0 end
  low = math.min(low or tonumber(log_ms), tonumber(log_ms))
end
local forgotten = 0
for _, bucket in ipairs(redis.call('SMEMBERS', ARGV[1] .. ':seen')) do
  if (tonumber(bucket) + 1) * tonumber(ARGV[3]) <= low - tonumber(ARGV[2]) then
    redis.call('UNLINK', ARGV[1] .. ':seen:' .. bucket)
    redis.call('SREM', ARGV[1] .. ':seen', bucket)
    forgotten = forgotten + 1
  end
end
return forgotten
