-- Trim what the broker has acknowledged, then show what waits.
-- ARGV: limit per partition, then per partition: partition, last acknowledged number (0 = none).
-- Answer: per partition the list of its first records `number NUL customer NUL value`.
local answer = {}
for at = 2, #ARGV, 2 do
  local out, acknowledged = tag .. ':out:' .. ARGV[at], tonumber(ARGV[at + 1])
  local head = acknowledged > 0 and redis.call('LINDEX', out, 0)
  if head then
    -- Numbers are contiguous: another relay may have trimmed some of them before.
    local done = acknowledged - tonumber(string.match(head, '^%d+')) + 1
    if done > 0 then redis.call('LTRIM', out, done, -1) end
  end
  answer[#answer + 1] = redis.call('LRANGE', out, 0, ARGV[1] - 1)
end
return answer
