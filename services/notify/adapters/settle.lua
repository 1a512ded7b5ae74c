-- Mark what sends came to: ended, or put off. Skipped for a delivery that somebody else has taken over or ended.
-- ARGV: now, ttl_ms, then per delivery: id, fence, destination, how it ended ('' = put off),
--   (ended) out partition, customer, record   or   (put off) delay_ms, 1 when this send may have been accepted, ''.
-- Answer per delivery: 1 done, 0 fenced or ended before.
local now, ttl_ms, answer = clock(ARGV[1]), ARGV[2], {}
for at = 3, #ARGV, 7 do
  local id, queue, ended = ARGV[at], tag .. ':q:' .. ARGV[at + 2], ARGV[at + 3]
  local hash = tag .. ':d:' .. id
  local is_mine = redis.call('HGET', hash, 'f') == ARGV[at + 1]
  if is_mine and ended ~= '' then
    redis.call('ZREM', queue, id)
    finish(id, ended, ttl_ms, ARGV[at + 4], ARGV[at + 5], ARGV[at + 6])
  elseif is_mine then
    redis.call('HSET', hash, 's', 'q')
    if ARGV[at + 5] == '1' then redis.call('HSET', hash, 'u', 1) end
    redis.call('ZADD', queue, now + tonumber(ARGV[at + 4]), id)
  end
  answer[#answer + 1] = is_mine and 1 or 0
end
return answer
