-- Put a delivery off. ARGV: now, id, fence, destination, delay_ms, 1 when this send may have been accepted.
-- Answer: 1 done, 0 fenced or ended before.
local hash = tag .. ':d:' .. ARGV[2]
if redis.call('HGET', hash, 'f') ~= ARGV[3] then return 0 end
redis.call('HSET', hash, 's', 'q')
if ARGV[6] == '1' then redis.call('HSET', hash, 'u', 1) end
redis.call('ZADD', tag .. ':q:' .. ARGV[4], clock(ARGV[1]) + tonumber(ARGV[5]), ARGV[2])
return 1
