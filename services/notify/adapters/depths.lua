-- What waits where. ARGV: now, partitions. Answer: outbox length, then per destination: name, deliveries, overdue_ms.
local now, outbox = clock(ARGV[1]), 0
for partition = 0, ARGV[2] - 1 do outbox = outbox + redis.call('LLEN', tag .. ':out:' .. partition) end
local answer = {outbox}
for _, destination in ipairs(redis.call('SMEMBERS', tag .. ':queues')) do
  local queue = tag .. ':q:' .. destination
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  answer[#answer + 1] = destination
  answer[#answer + 1] = redis.call('ZCARD', queue)
  answer[#answer + 1] = head[2] and math.max(0, now - head[2]) or 0
end
return answer
