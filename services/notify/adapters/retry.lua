-- Put a delivery off. ARGV: now, id, fence, destination, delay_ms. Answer: 1 done, 0 fenced or ended before.
local hash = tag .. ':d:' .. ARGV[2]
if redis.call('HGET', hash, 'f') ~= ARGV[3] then return 0 end
redis.call('HSET', hash, 's', 'q')
redis.call('ZADD', tag .. ':q:' .. ARGV[4], clock(ARGV[1]) + tonumber(ARGV[5]), ARGV[2])
return 1
