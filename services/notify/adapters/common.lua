-- Shared beginning of notify's scripts. KEYS[1] is the hash tag `{notify}`: all keys carry it, so they share one slot.
--   d:<delivery id>   hash: s state (q queued, s sending, or how it ended), f fence, a sends begun, t first send, b intent,
--                     u set for ever once a send's acceptance is unknown
--   q:<destination>   sorted set of delivery ids by the moment they are looked at next (retry due, or lease over)
--   rate:<destination> sorted set of recent sends   queues  set of destinations that ever had a queue
--   out:<partition>   list of records for the topic deliveries   outn:<partition>  number of the last one appended
--   seen:<partition>  hash: source partition → last sequence number seen in `triggers`
--   log               cluster and topic ids that all this belongs to (see durable.py)
local tag = KEYS[1]

-- The server's clock unless the caller injects one: leases of replicas must not hang on their own clocks.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- End a delivery: only its state is kept, as long as a replay of its trigger is possible; its record joins the outbox.
local function finish(id, status, ttl_ms, partition, key, record)
  local hash = tag .. ':d:' .. id
  redis.call('DEL', hash)
  redis.call('HSET', hash, 's', status)
  redis.call('PEXPIRE', hash, ttl_ms)
  local number = redis.call('INCR', tag .. ':outn:' .. partition)
  redis.call('RPUSH', tag .. ':out:' .. partition, number .. '\0' .. key .. '\0' .. record)
end
