-- Number the outboxes from 1 again, for a `deliveries` topic that begins anew. Runs after the text of common.lua; may be
-- repeated. ARGV: partitions. Answer: records that wait.
redis.call('DEL', tag .. ':log')
local left = 0
for partition = 0, ARGV[1] - 1 do
  local out = tag .. ':out:' .. partition
  local entries = redis.call('LRANGE', out, 0, -1)
  redis.call('DEL', out, tag .. ':seen:' .. partition)
  for number, entry in ipairs(entries) do
    redis.call('RPUSH', out, number .. string.sub(entry, string.find(entry, '\0', 1, true), -1))
  end
  redis.call('SET', tag .. ':outn:' .. partition, #entries)
  left = left + #entries
end
return left
