-- Record the intents of a batch of triggers; what is known already stays as it is.
-- ARGV: now, ttl_ms, count of places, (partition, source, number)…, then per delivery:
--   id, destination, out partition, customer, intent, how it ended at once ('' = it waits for its send), record.
-- Answer: missing sequence numbers, then 1 (new) or 0 (known) per delivery.
local now, ttl_ms, places = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local answer = {0}
for i = 0, places - 1 do
  local seen, source, number = tag .. ':seen:' .. ARGV[4 + 3 * i], ARGV[5 + 3 * i], tonumber(ARGV[6 + 3 * i])
  local last = tonumber(redis.call('HGET', seen, source) or '0')
  if number > last then
    answer[1] = answer[1] + number - last - 1
    redis.call('HSET', seen, source, number)
  end
end
for at = 4 + 3 * places, #ARGV, 7 do
  local id, destination, ended = ARGV[at], ARGV[at + 1], ARGV[at + 5]
  local hash = tag .. ':d:' .. id
  if redis.call('EXISTS', hash) == 1 then
    answer[#answer + 1] = 0
  else
    answer[#answer + 1] = 1
    if ended ~= '' then
      finish(id, ended, ttl_ms, ARGV[at + 2], ARGV[at + 3], ARGV[at + 6])
    else
      redis.call('HSET', hash, 's', 'q', 'f', 0, 'a', 0, 'b', ARGV[at + 4])
      redis.call('ZADD', tag .. ':q:' .. destination, now, id)
      redis.call('SADD', tag .. ':queues', destination)
    end
  end
end
return answer
