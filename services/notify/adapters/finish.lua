-- Mark how a delivery ended and append its record to the outbox, unless somebody else has taken it over.
-- ARGV: id, fence, destination, status, ttl_ms, out partition, customer, record. Answer: 1 done, 0 fenced or ended before.
local hash = tag .. ':d:' .. ARGV[1]
if redis.call('HGET', hash, 'f') ~= ARGV[2] then return 0 end
redis.call('ZREM', tag .. ':q:' .. ARGV[3], ARGV[1])
finish(ARGV[1], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
return 1
