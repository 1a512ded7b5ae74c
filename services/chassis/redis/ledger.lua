-- The ledger: input position, state and unsent outputs change in one script or not at all.
-- Shared prefix of every script that applies a batch (apply.lua here, resolve.lua in identity).
-- KEYS[1] is the partition's ledger hash, KEYS[2] its outbox list. Other keys carry the same hash tag, so they live in
-- the same cluster slot; they are passed as arguments.

-- The reason why this batch must not be applied, or nil. Reads only.
local function refused(meta, epoch, batch, position)
  local m = redis.call('HMGET', meta, 'epoch', 'batch', 'position')
  if m[1] ~= epoch then return 'FENCED' end
  if m[2] == batch then return 'ALREADY' end
  if m[3] ~= position then return 'MISMATCH' end
  -- Batches are <epoch>.<number>. A lower number of this epoch is a copy of a request that was given up and asked again;
  -- where time alone moved the state, the position would not give it away.
  local of, number = string.match(m[2], '^(%d+)%.(%d+)$')
  if of == epoch and tonumber(string.match(batch, '%d+$')) < tonumber(number) then return 'MISMATCH' end
  return nil
end

-- Trim the acknowledged prefix of the outbox, append what this batch must send, move the position last.
-- blob holds the sequence numbers (seen, base) that belong to exactly this position; log_ms is the log time of its
-- last record ('' keeps the stored one). More fields of the ledger hash may follow, name and value.
local function commit(meta, outbox, batch, position, blob, trim, entry, log_ms, ...)
  if trim > 0 then redis.call('LTRIM', outbox, trim, -1) end
  if entry ~= '' then redis.call('RPUSH', outbox, entry) end
  local fields = {'batch', batch, 'blob', blob, 'position', position, ...}
  if log_ms ~= '' then
    fields[#fields + 1] = 'log_ms'
    fields[#fields + 1] = log_ms
  end
  redis.call('HSET', meta, unpack(fields))
end

-- Call a command with many arguments in pieces that fit Lua's stack (limit 8,000). A piece is a multiple of `step`.
local function chunked(command, head, list, step)
  local size = 2000 - 2000 % step
  for from = 1, #list, size do
    local upto = math.min(from + size - 1, #list)
    if head then
      redis.call(command, head, unpack(list, from, upto))
    else
      redis.call(command, unpack(list, from, upto))
    end
  end
end
