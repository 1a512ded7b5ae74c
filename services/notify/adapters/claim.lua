-- Take deliveries of one destination that are due, within its rate, under a lease and a new fence each.
-- ARGV: now, destination, wanted, lease_ms, rate count (0 = none), rate period_ms.
-- Answer: now, ms until something may be due (-1 = nothing waits), then per delivery:
--   id, fence, sends begun earlier, 1 when one of them may have been accepted, ms since the first send began, intent.
local now, destination, wanted, lease_ms = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local count, period_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local queue, rate = tag .. ':q:' .. destination, tag .. ':rate:' .. destination
local free_in = 0
if count > 0 then
  redis.call('ZREMRANGEBYSCORE', rate, '-inf', now - period_ms)
  local left = count - redis.call('ZCARD', rate)
  if left < wanted then wanted = left end
  if left <= 0 then
    wanted = 0
    local oldest = redis.call('ZRANGE', rate, 0, 0, 'WITHSCORES')
    free_in = oldest[2] + period_ms - now + 1
  end
end
local answer = {now, -1}
if wanted > 0 then
  for _, id in ipairs(redis.call('ZRANGE', queue, '-inf', now, 'BYSCORE', 'LIMIT', 0, wanted)) do
    local hash = tag .. ':d:' .. id
    local found = redis.call('HMGET', hash, 's', 'a', 't', 'b', 'u')
    if not found[4] then
      redis.call('ZREM', queue, id)
    else
      local fence = redis.call('HINCRBY', hash, 'f', 1)
      redis.call('HSET', hash, 's', 's', 'a', found[2] + 1, 't', found[3] or now)
      -- Still marked as sending: its lease ran out without an outcome.
      local is_doubtful = found[5] or found[1] == 's'
      if is_doubtful then redis.call('HSET', hash, 'u', 1) end
      redis.call('ZADD', queue, now + lease_ms, id)
      if count > 0 then
        redis.call('ZADD', rate, now, id .. ':' .. fence)
        redis.call('PEXPIRE', rate, period_ms)
      end
      local row = {id, fence, tonumber(found[2]), is_doubtful and 1 or 0, now - (found[3] or now), found[4]}
      for i = 1, 6 do answer[#answer + 1] = row[i] end
    end
  end
end
local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
if head[2] then answer[2] = math.max(head[2] - now, free_in, 0) end
return answer
