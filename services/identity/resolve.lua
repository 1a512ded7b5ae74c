-- The identity graph: the only place that reads and writes it. One call resolves, links and merges a batch of
-- touchpoints, gives every record its customer and its number in that customer's log, remembers message ids, appends
-- the decisions to the outbox and moves the position. Runs after the text of ledger.lua.
--
-- KEYS: ledger hash, outbox list. ARGV[1..8] as in apply.lua (ARGV[7] unused), then
--   9 tag of every key here    10 events (binary, below)    11 policy, cmsgpack
-- Event: >I4 rel (offset − position)  B kind ('e'vent, 'u'nlink, 'x' erase, 'l'ink, 'r'efuse, 'q'uarantine's end,
--        'p'oison)  B flags (1: historical import, 2: public key)  I4 verified (bit i - 1: the i-th identifier is)  I8 log_ms
--        c16 message  B count, then count identifiers of 17 bytes: kind code, digest (of a 'q': 0, customer).
-- Node:  what a customer's parts are kept by, 17 bytes like an identifier. It is the identifier itself, until another
--        customer takes it over or it was not seen for too long: then the identifier gets a new node, the old one stays
--        where it was with all that happened under it. The first identifier's node is the event's.
-- Keys:  <tag>:i:<node>        16-byte customer, or '-' for a tombstone; then the tail: >I2 day (kinds with ttl: last
--                              seen; others: taken over), and of an identifier that has another node now, that node (of
--                              a tombstone after a zero byte)
--        <tag>:c:<customer>    >I4 n  B state  I7 age  I2 count, nodes (17 bytes each), edges
--        state: 1 quarantined, 2 has former nodes, 4 × how often it was released
--        edge: >I2 a  I2 b (places in the list of nodes, a < b; a = b: a former node)  I2 partition  I6 offset of the
--                              touchpoint that made it
--        <tag>:said:<number>   refusals that were announced, number: which run of policy.said_most of them
--        <tag>:b:<identifier>  how often it founded a customer after the first time
--        <tag>:counters        g (order of changes), created (births), batches (that decided something, over all
--                              partitions), said (refusals announced)
--        <tag>:seen            numbers of the message-id buckets; <tag>:seen:<bucket> the ids
--        <tag>:policy          told: the version that was told last, number: of it; <tag>:policies the last thousand;
--                              <tag>:rules:<version> the rules of each, written by who is about to work under it
-- Answer: {status, decisions, duplicates dropped, erased dropped, refusals not announced again}; decisions = cmsgpack
--   {position, events, others, batch, next position, lists}: events is a run of >I4 rel c16 customer I4 n c17 node;
--   others are lists whose first element is rel; batch: number in the order in which the graph decided; lists of
--   identifiers of who took others; see services/identity/core/decisions.py.
local why = refused(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
if why == 'ALREADY' then
  local stored = redis.call('HGET', KEYS[1], 'has_entry') == '1' and redis.call('LINDEX', KEYS[2], -1) or ''
  return {why, stored, 0, 0, 0}
elseif why then
  return {why, '', 0, 0, 0}
end

local tag, payload, policy = ARGV[9], ARGV[10], cmsgpack.unpack(ARGV[11])
local partition, limits, known_kinds, ttl_days = policy.partition, policy.limits, policy.known, policy.ttl_days
local EDGE, ID, DAY_MS = 12, 17, 86400000
local EVENT, UNLINK, LINK, REFUSE, RELEASE, POISON = 101, 117, 108, 114, 113, 112

-- 1. read the arguments -------------------------------------------------------------------------------------------
-- Valkey does nothing else while this runs: what is done for every touchpoint avoids look-ups of globals, and tables
-- that grow field by field.
local sub, byte, floor, max = string.sub, string.byte, math.floor, math.max
local unpack_struct, pack_struct = struct.unpack, struct.pack
local events, size, at = {}, 0, 1
local ids_once, ids_list, messages, released = {}, {}, {}, {}
while at <= #payload do
  local rel, kind, flags, verified, log_ms, message, count, first = unpack_struct('>I4BBI4I8c16B', payload, at)
  local ids = {}
  at = first + count * ID
  for i = 1, count do
    local id = sub(payload, first + i * ID - ID, first + i * ID - 1)
    ids[i] = id
    if not ids_once[id] then
      ids_once[id] = true
      ids_list[#ids_list + 1] = id
    end
  end
  size = size + 1
  events[size] = {rel = rel, kind = kind, flags = flags, verified = verified, log_ms = log_ms, message = message,
    count = count, ids = ids}
  if kind == RELEASE then released[#released + 1] = sub(ids[1], 2) end
  messages[size] = message
end

-- 2. load everything the batch can touch --------------------------------------------------------------------------
local function load(prefix, names)
  local found = {}
  for from = 1, #names, 2000 do
    local upto, keys = math.min(from + 1999, #names), {}
    for i = from, upto do keys[i - from + 1] = prefix .. names[i] end
    local values = redis.call('MGET', unpack(keys))
    for i = 1, #values do
      if values[i] then found[names[from + i - 1]] = values[i] end
    end
  end
  return found
end

local ident = load(tag .. ':i:', ids_list)
-- Of what is loaded: the day of its tail, the node an identifier has now, and back.
local days, node_of, base_of, any_renewed = {}, {}, {}, false

local function read_tails(names)
  local renewed = {}
  for i = 1, #names do
    local id = names[i]
    local raw = ident[id]
    if raw and #raw > 16 then
      local size = #raw
      if size ~= 33 and size ~= 19 then days[id] = unpack_struct('>I2', raw, 17) end
      if size > 18 then
        local node = sub(raw, -ID)
        node_of[id], base_of[node], any_renewed = node, id, true
        renewed[#renewed + 1] = node
      end
      ident[id] = size == 19 and '-' or sub(raw, 1, 16)
    end
  end
  return renewed
end

local renewed = read_tails(ids_list)
if any_renewed then
  for id, raw in pairs(load(tag .. ':i:', renewed)) do ident[id] = raw end
  for i = 1, #renewed do ids_once[renewed[i]] = true end
  read_tails(renewed)
end
local wanted, once = released, {}
for i = 1, #released do once[released[i]] = true end
for _, c in pairs(ident) do
  if c ~= '-' and not once[c] then
    once[c] = true
    wanted[#wanted + 1] = c
  end
end
local cust = {}
for id, raw in pairs(load(tag .. ':c:', wanted)) do
  local n, state, age, count, rest = unpack_struct('>I4BI7I2', raw)
  local cut = rest + count * ID
  cust[id] = {n = n, state = state, age = age, ids = sub(raw, rest, cut - 1), edges = sub(raw, cut), kinds = false}
end
local strangers = {}
for i = 1, #ids_list do
  if not ident[ids_list[i]] then strangers[#strangers + 1] = ids_list[i] end
end
local births_before = load(tag .. ':b:', strangers)
local counters = redis.call('HMGET', tag .. ':counters', 'g', 'created', 'batches', 'said')
local g, created, batches = tonumber(counters[1] or 0), tonumber(counters[2] or 0), tonumber(counters[3] or 0)
local said = tonumber(counters[4] or 0)

-- message ids seen inside the window, by bucket of log time
local seen_at, buckets = {}, {}
for _, bucket in ipairs(redis.call('SMEMBERS', tag .. ':seen')) do
  buckets[tonumber(bucket)] = true
  local ends_ms = (tonumber(bucket) + 1) * policy.bucket_ms
  for from = 1, #messages, 2000 do
    local upto = math.min(from + 1999, #messages)
    local hits = redis.call('SMISMEMBER', tag .. ':seen:' .. bucket, unpack(messages, from, upto))
    for i = 1, #hits do
      if hits[i] == 1 then
        local m = messages[from + i - 1]
        seen_at[m] = max(seen_at[m] or 0, ends_ms)
      end
    end
  end
end

-- 3. decide ---------------------------------------------------------------------------------------------------------
local out, others, seen_new = {}, {}, {}
local ident_new, gone, births = {}, {}, {}
local today, tomorrow_ms, untold = 0, DAY_MS, 0

local function emit(...) others[#others + 1] = {...} end

-- A batch under another version than the one before tells it first, with its rules: what anybody decided, and under
-- what, is one order. policy.version is missing where nothing is told; a rebuild says when and where it was told.
local adopted
if policy.version and size > 0 then
  local held = redis.call('HMGET', tag .. ':policy', 'told', 'number')
  local before = held[1] or ''
  if before ~= policy.version then
    local number = before == '' and 1 or tonumber(held[2]) + 1
    adopted = {number, policy.version, policy.since_ms or events[1].log_ms, before}
    g = g + 1
    emit(events[1].rel, 'V', g, number, policy.version, before, adopted[3], policy.since_offset or tonumber(ARGV[3]),
      redis.call('GET', tag .. ':rules:' .. policy.version) or '')
  end
end

local function index_of(list, id)
  local from = 1
  while true do
    local found = string.find(list, id, from, true)
    if not found then return nil end
    if (found - 1) % ID == 0 then return (found - 1) / ID end
    from = found + 1
  end
end

-- Kind → how many identifiers of it customer C has, former ones left out. Counted once: a busy customer has hundreds.
local function kinds_of(C)
  if not C.kinds then
    local kinds, list = {}, C.ids
    for i = 1, #list, ID do
      local kind = byte(list, i)
      kinds[kind] = (kinds[kind] or 0) + 1
    end
    if C.state % 4 >= 2 then
      for i = 1, #C.edges, EDGE do
        local a, b = unpack_struct('>I2I2', C.edges, i)
        local kind = byte(list, a * ID + 1)
        if a == b then kinds[kind] = kinds[kind] - 1 end
      end
    end
    C.kinds = kinds
  end
  return C.kinds
end

local function is_known(C)
  for kind, count in pairs(kinds_of(C)) do
    if known_kinds[kind] and count > 0 then return true end
  end
  return false
end

-- How many nodes customer C may have: each release grants it as many again.
local function allowed(C) return math.min(policy.max_size * (1 + floor(C.state / 4)), 60000) end

-- The first 16 bytes of hexadecimal text.
local function bytes_of(hex)
  local function word(at) return tonumber(sub(hex, at, at + 7), 16) end
  return pack_struct('>I4I4I4I4', word(1), word(9), word(17), word(25))
end

local function uuid5(id, birth)
  local hex = redis.sha1hex(policy.namespace .. id .. ':' .. birth)
  local variant = string.format('%x', 8 + tonumber(string.sub(hex, 17, 17), 16) % 4)
  return bytes_of(string.sub(hex, 1, 12) .. '5' .. string.sub(hex, 14, 16) .. variant .. string.sub(hex, 18, 32))
end

-- A customer id is never used again: the second time an identifier founds one, the birth number differs.
local function found_customer(id, again)
  local birth = 0
  local before = births_before[id]
  if again and not before then before = redis.call('GET', tag .. ':b:' .. id) or 0 end
  if before then
    birth = (births[id] or tonumber(before)) + 1
    births[id] = birth
  end
  created = created + 1
  local c = uuid5(id, birth)
  cust[c] = {n = 0, state = 0, age = created, ids = '', edges = '', kinds = {}}
  return c
end

local function put(id, c)
  ident[id] = c
  ident_new[id] = c
  local C = cust[c]
  local kinds, kind = kinds_of(C), byte(id)
  C.ids, kinds[kind] = C.ids .. id, (kinds[kind] or 0) + 1
  if ttl_days[kind] then days[id] = today end
end

local function limit_of(kind) return limits[kind] == 1 and 'unique' or 'limit' end

-- Why node `id`, nobody's so far, may not join customer C, and the kind it is about; nil when it may.
local function put_refused(id, C)
  local kind = byte(id)
  if limits[kind] and (kinds_of(C)[kind] or 0) >= limits[kind] then return limit_of(kind), kind end
  if C.state % 2 == 1 or #C.ids / ID >= allowed(C) then return 'cluster_size', 0 end
  return nil
end

-- Why A and B, who have x and y, may not become one; nil when they may. Size comes last: what another guard keeps apart
-- quarantines nobody.
local function merge_refused(A, B, x, y, flags)
  local frozen, lowest = policy.frozen, 256
  if frozen[byte(y)] then return 'may_merge', byte(y) end
  if frozen[byte(x)] then return 'may_merge', byte(x) end
  local others = kinds_of(B)
  for kind, count in pairs(kinds_of(A)) do
    local other, limit = others[kind] or 0, limits[kind]
    if limit and kind < lowest and count > 0 and other > 0 and count + other > limit then lowest = kind end
  end
  if lowest < 256 then return limit_of(lowest), lowest end
  if flags % 4 >= 2 and is_known(A) and is_known(B) then return 'public_key', 0 end
  if A.state % 2 == 1 or B.state % 2 == 1 or (#A.ids + #B.ids) / ID > max(allowed(A), allowed(B)) then
    return 'cluster_size', 0
  end
  return nil
end

-- Whether this refusal has not been announced yet, as far back as policy.said_most of them, twice at most, are kept.
-- What a person asked for is always answered.
local said_new = {}
local function is_news(e, why, kind, a, b, x)
  if e.kind == LINK or policy.said_most == 0 then return true end
  local key, run = sub(why, 1, 1) .. string.char(kind) .. a .. b .. x, floor(said / policy.said_most)
  local kept = said_new[key]
  local known = kept and kept >= run - 1
  for number = run, max(run - 1, 0), -1 do
    known = known or redis.call('SMISMEMBER', tag .. ':said:' .. number, key)[1] == 1
  end
  if known then
    untold = untold + 1
    return false
  end
  said_new[key] = run
  said = said + 1
  return true
end

-- A link was refused: told once; and who would have become too large joins nothing more until somebody releases it.
local function refused_link(e, why, kind, a, b, x, nodes)
  if why == 'cluster_size' then
    local c, other = a, b
    if b ~= '' and (#cust[b].ids > #cust[a].ids or #cust[b].ids == #cust[a].ids and cust[b].age < cust[a].age) then
      c, other = b, a
    end
    local A, B = cust[a], b ~= '' and cust[b] or cust[a]
    if A.state % 2 == 0 and B.state % 2 == 0 then
      cust[c].state = cust[c].state + 1
      g = g + 1
      emit(e.rel, 'C', 'quarantined', g, c, other, -1, {x}, why)
    end
  end
  if is_news(e, why, kind, a, b, x) then
    g = g + 1
    emit(e.rel, 'C', b == '' and 'blocked' or 'conflict', g, a, b, -1, nodes, kind > 0 and why .. ':' .. kind or why)
  end
end

-- The links of C. What a batch adds lies in a list until somebody wants them all: joined one by one, a customer of many
-- links would be copied whole for every event.
local function edges_of(C)
  if C.added then
    C.edges, C.added = C.edges .. table.concat(C.added), nil
  end
  return C.edges
end

local function append_edge(C, pair, rel)
  local added = C.added or {}
  if C.linked and C.indexed == #C.edges + #added * EDGE then C.linked[pair], C.indexed = true, C.indexed + EDGE end
  added[#added + 1] = pair .. pack_struct('>I2I6', partition, tonumber(ARGV[3]) + rel)
  C.added = added
end

-- Whether C has a link between these places. The first questions of a batch look through the links; who is asked more
-- often gets an index, or each event would cost as much as its customer has links.
local function is_linked(C, pair)
  C.asked = (C.asked or 0) + 1
  if C.asked > 2 then
    if not C.linked then C.linked, C.indexed = {}, 0 end
    if C.indexed < #C.edges + #(C.added or '') * EDGE then
      local edges = edges_of(C)
      for i = C.indexed + 1, #edges, EDGE do C.linked[sub(edges, i, i + 3)] = true end
      C.indexed = #edges
    end
    return C.linked[pair]
  end
  local edges, from = edges_of(C), 1
  while true do
    local found = string.find(edges, pair, from, true)
    if not found then return false end
    if (found - 1) % EDGE == 0 then return true end
    from = found + 1
  end
end

local function add_edge(C, x, y, rel)
  local a, b = index_of(C.ids, x), index_of(C.ids, y)
  local pair = pack_struct('>I2I2', math.min(a, b), max(a, b))
  if not is_linked(C, pair) then append_edge(C, pair, rel) end
end

local function nodes_of(list)
  local nodes = {}
  for i = 1, #list, ID do nodes[#nodes + 1] = string.sub(list, i, i + ID - 1) end
  return nodes
end

-- Every merge announces the whole list of identifiers. Within a batch it only grows, so it is kept once, and a merge says
-- how much of it there was: a customer that takes a thousand others would otherwise fill the outbox with its square.
local rolls = {}

local function enrol(C, moved)
  if not C.roll then C.roll = #rolls + 1 end
  rolls[C.roll] = C.ids
  return {C.roll, #C.ids / ID, moved}
end

-- The older customer survives: a total order fixed at birth, so A→B with B→A cannot form a cycle.
local function merge(a, b, x, y, e, k)
  local s, l = a, b
  if cust[b].age < cust[a].age then s, l = b, a end
  local S, L = cust[s], cust[l]
  L.n, S.n = L.n + 1, S.n + 1
  emit(e.rel, 'G', l, L.n, k, s)
  emit(e.rel, 'T', s, S.n, k, l)
  local shift, edges, count = #S.ids / ID, {edges_of(S)}, 1
  local list, links = L.ids, edges_of(L)
  for i = 1, #links, EDGE do
    local p, q, rest = unpack_struct('>I2I2', links, i)
    edges[count + 1], edges[count + 2] = pack_struct('>I2I2', p + shift, q + shift), sub(links, rest, i + EDGE - 1)
    count = count + 2
  end
  for i = 1, #list, ID do
    local id = sub(list, i, i + ID - 1)
    ident[id] = s
    ident_new[id] = s
  end
  local kinds = kinds_of(S)
  for kind, more in pairs(kinds_of(L)) do kinds[kind] = (kinds[kind] or 0) + more end
  local former = (S.state % 4 >= 2 or L.state % 4 >= 2) and 2 or 0
  S.state = 4 * max(floor(S.state / 4), floor(L.state / 4)) + former
  -- The two were of different customers until now: nothing has linked them yet.
  local p, q = index_of(cust[a].ids, x), index_of(cust[b].ids, y)
  if s == a then q = q + shift else p, q = q, p + shift end
  S.ids, S.edges = S.ids .. list, table.concat(edges)
  append_edge(S, pack_struct('>I2I2', p, q), e.rel)
  g = g + 1
  emit(e.rel, 'C', 'merged', g, s, l, k, enrol(S, #list / ID), '')
  cust[l] = nil
  gone[l] = true
end

-- Identifier e.ids[i] gets a node of its own that is nobody's. The one it had stays its customer's, as a former one.
local function renew(e, i)
  local node = e.ids[i]
  local base, C = base_of[node] or node, cust[ident[node]]
  local new = sub(node, 1, 1) .. bytes_of(redis.sha1hex(policy.namespace .. node .. ':renewed'))
  node_of[base], base_of[new], any_renewed, ids_once[new] = new, base, true, true
  ident_new[base] = ident[base]
  local place = index_of(C.ids, node)
  C.edges = edges_of(C) .. pack_struct('>I2I2I2I6', place, place, partition, tonumber(ARGV[3]) + e.rel)
  C.kinds = false
  if C.state % 4 < 2 then C.state = C.state + 2 end
  e.ids[i] = new
  return {new, node, base}
end

-- Every identifier of an event is seen now; one that was not seen for longer than its kind's ttl is dropped first.
local function see(e)
  for i = 1, e.count do
    local node = e.ids[i]
    local ttl, c = ttl_days[byte(node)], ident[node]
    if ttl and c and c ~= '-' then
      local last = days[node]
      if last and today - last > ttl then
        local nodes = renew(e, i)
        g = g + 1
        emit(e.rel, 'C', 'expired', g, c, '', -1, nodes, 'ttl_days:' .. byte(node))
      elseif not last or today > last then
        days[node], ident_new[node] = today, c
      end
    end
  end
end

-- A newer owner whom a trusted source has verified takes identifier e.ids[i] over from customer b. False when it may not:
-- history that is imported late says nothing about now, and within the hold another owner was verified just before.
local function takes_over(e, i, why, a, b)
  local node = e.ids[i]
  if why ~= 'unique' or floor(e.verified / 2 ^ (i - 1)) % 2 == 0 or e.flags % 2 == 1 then return false end
  if days[node] and today - days[node] <= policy.hold_days then return false end
  if put_refused(node, cust[a]) then return false end
  local nodes = renew(e, i)
  put(nodes[1], a)
  days[nodes[1]] = today
  g = g + 1
  emit(e.rel, 'C', 'moved', g, a, b, -1, nodes, 'verified:' .. byte(node))
  return true
end

-- Links the identifiers of one touchpoint, or those two that a person says are one: that is told whatever comes of it.
-- The primary one is no tombstone: that was looked at before.
local function link(e)
  local ids, places = {}, {}
  for i = 1, e.count do
    if ident[e.ids[i]] ~= '-' then ids[#ids + 1], places[#ids + 1] = e.ids[i], i end
  end
  local primary, fresh = ids[1], {}
  if not ident[primary] then
    for i = 2, #ids do
      local c = ident[ids[i]]
      if c and not put_refused(primary, cust[c]) then
        put(primary, c)
        break
      end
    end
    if not ident[primary] then put(primary, found_customer(primary, false)) end
    fresh[1] = primary
  end
  local k, all_linked = 0, true
  for i = 2, #ids do
    local x, a = ids[i], ident[primary]
    local b = ident[x]
    if not b then
      local why, kind = put_refused(x, cust[a])
      if why then
        refused_link(e, why, kind, a, '', x, e.kind == LINK and {primary, x} or {x})
        all_linked = false
      else
        put(x, a)
        add_edge(cust[a], primary, x, e.rel)
        fresh[#fresh + 1] = x
      end
    elseif a == b then
      add_edge(cust[a], primary, x, e.rel)
    else
      local why, kind = merge_refused(cust[a], cust[b], primary, x, e.flags)
      if not why then
        merge(a, b, primary, x, e, k)
        k = k + 1
      elseif takes_over(e, places[i], why, a, b) then
        add_edge(cust[a], primary, e.ids[places[i]], e.rel)
      else
        refused_link(e, why, kind, a, b, x, {primary, x})
        all_linked = false
      end
    end
  end
  if e.kind == LINK and all_linked then fresh = ids end
  if #fresh > 0 then
    g = g + 1
    emit(e.rel, 'C', 'linked', g, ident[primary], '', -1, fresh, '')
  end
end

-- Two known identifiers are not one person's, a person says: nothing changes, and it is told.
local function refuse(e)
  local c, d = ident[e.ids[1]], ident[e.ids[2]]
  if not c or not d then return end
  g = g + 1
  emit(e.rel, 'C', 'refused', g, c, d, -1, {e.ids[1], e.ids[2]}, '')
end

-- A person lets a quarantined customer grow again.
local function release(e)
  local c = sub(e.ids[1], 2)
  local C = cust[c]
  if not C or C.state % 2 == 0 then return end
  C.state = C.state - 1
  while C.state < 252 do
    C.state = C.state + 4
    if allowed(C) > #C.ids / ID then break end
  end
  g = g + 1
  emit(e.rel, 'C', 'released', g, c, '', -1, {}, '')
end

local function resolve(e)
  see(e)
  local primary = e.ids[1]
  if e.count > 1 or not ident[primary] then link(e) end
  local c = ident[primary]
  local C = cust[c]
  C.n = C.n + 1
  out[#out + 1] = pack_struct('>I4c16I4c17', e.rel, c, C.n, primary)
end

-- Components of C without some of its edges: those of place p, or with q only the one between p and q. Each is a list
-- of places, oldest first, with its edges; and how many edges it is without.
local function components(C, p, q)
  local count, parent, kept, cut = #C.ids / ID, {}, {}, 0
  for i = 0, count - 1 do parent[i] = i end
  local function root(i)
    while parent[i] ~= i do
      parent[i] = parent[parent[i]]
      i = parent[i]
    end
    return i
  end
  local links = edges_of(C)
  for i = 1, #links, EDGE do
    local a, b = unpack_struct('>I2I2', links, i)
    local is_cut
    if q then is_cut = a == p and b == q else is_cut = a == p or b == p end
    if is_cut then
      cut = cut + 1
    else
      kept[#kept + 1] = {a, b, sub(links, i + 4, i + EDGE - 1)}
      local ra, rb = root(a), root(b)
      parent[max(ra, rb)] = math.min(ra, rb)
    end
  end
  local by_root, list = {}, {}
  for i = 0, count - 1 do
    local r = root(i)
    local side = by_root[r]
    if not side then
      side = {edges = {}}
      by_root[r] = side
      list[#list + 1] = side
    end
    side[#side + 1] = i
  end
  for i = 1, #kept do
    local edges = by_root[root(kept[i][1])].edges
    edges[#edges + 1] = kept[i]
  end
  return list, cut
end

-- The identifiers at these places of C and their edges, as a customer of their own has them.
local function restrict(C, places)
  local at_new, ids, edges = {}, {}, {}
  for new, old in ipairs(places) do
    at_new[old] = new - 1
    ids[new] = sub(C.ids, old * ID + 1, old * ID + ID)
  end
  for i, edge in ipairs(places.edges) do
    edges[i] = pack_struct('>I2I2', at_new[edge[1]], at_new[edge[2]]) .. edge[3]
  end
  return table.concat(ids), table.concat(edges), ids
end

-- Side `stay` keeps customer c; every other side becomes a new one.
local function split(e, c, list, stay)
  local C, pieces, takes, k = cust[c], {}, {}, 0
  for _, places in ipairs(list) do
    if places ~= stay then
      local ids, edges, nodes = restrict(C, places)
      local new = found_customer(nodes[1], true)
      local N = cust[new]
      N.ids, N.edges, N.n = ids, edges, 1
      N.kinds = false
      N.state = C.state % 4 >= 2 and 2 or 0
      for _, id in ipairs(nodes) do
        ident[id] = new
        ident_new[id] = new
      end
      pieces[#pieces + 1] = {k, new, nodes}
      takes[#takes + 1] = {e.rel, 'T', new, 1, k, c}
      g = g + 1
      emit(e.rel, 'C', 'split', g, new, c, k, nodes, '')
      k = k + 1
    end
  end
  C.ids, C.edges = restrict(C, stay)
  C.linked = nil
  C.kinds, C.roll = false, nil
  if k == 0 then return end
  C.n = C.n + 1
  emit(e.rel, 'S', c, C.n, pieces)
  for _, take in ipairs(takes) do others[#others + 1] = take end
end

-- Takes links back: all of the first identifier, or with a second one only the one between the two. A third thing, of
-- kind 0, is the customer it must be of now: who asks has seen it there.
local function unlink(e)
  local x, y, whose = e.ids[1], nil, nil
  for i = 2, e.count do
    if byte(e.ids[i]) == 0 then whose = sub(e.ids[i], 2) else y = e.ids[i] end
  end
  local c = ident[x]
  if not c or c == '-' then return end
  if whose and whose ~= c then
    g = g + 1
    emit(e.rel, 'C', 'declined', g, c, whose, -1, {x}, 'other_customer')
    return
  end
  local C = cust[c]
  if not y then
    local list = components(C, index_of(C.ids, x))
    if #list == 1 then return end
    local stay = list[1]
    -- The side of the oldest identifier other than x stays: x is what was wrong about the customer.
    if #stay == 1 and sub(C.ids, stay[1] * ID + 1, stay[1] * ID + ID) == x then stay = list[2] end
    split(e, c, list, stay)
    return
  end
  local p, q = index_of(C.ids, x), index_of(C.ids, y)
  local list, cut = {}, 0
  if q then list, cut = components(C, math.min(p, q), max(p, q)) end
  g = g + 1
  if cut == 0 then
    emit(e.rel, 'C', 'declined', g, c, '', -1, {x, y}, 'no_link')
    return
  end
  emit(e.rel, 'C', 'unlinked', g, c, '', -1, {x, y}, '')
  split(e, c, list, list[1])
end

local function erase(e)
  local x = e.ids[1]
  local c = ident[x]
  ident[x], ident_new[x] = '-', '-'
  if not c or c == '-' then return end
  local C = cust[c]
  local nodes = nodes_of(C.ids)
  for _, id in ipairs(nodes) do
    ident[id], ident_new[id] = '-', '-'
  end
  g = g + 1
  emit(e.rel, 'C', 'erased', g, c, '', -1, nodes, '')
  emit(e.rel, 'X', c, C.n + 1, nodes)
  cust[c] = nil
  gone[c] = true
end

local duplicates, dropped = 0, 0
for at_event = 1, size do
  local e = events[at_event]
  if any_renewed then
    for i = 1, e.count do e.ids[i] = node_of[e.ids[i]] or e.ids[i] end
  end
  local kind, is_dead = e.kind, false
  if kind == EVENT then
    is_dead = ident[e.ids[1]] == '-'
  elseif kind == LINK or kind == REFUSE then
    is_dead = ident[e.ids[1]] == '-' or ident[e.ids[2]] == '-'
  end
  if kind == POISON then
    emit(e.rel, 'P')
  elseif seen_at[e.message] and seen_at[e.message] > e.log_ms - policy.window_ms then
    duplicates = duplicates + 1
  elseif is_dead then
    dropped = dropped + 1
  else
    local bucket = floor(e.log_ms / policy.bucket_ms)
    local fresh = seen_new[bucket]
    if not fresh then
      fresh = {}
      seen_new[bucket] = fresh
    end
    fresh[#fresh + 1] = e.message
    seen_at[e.message] = max(seen_at[e.message] or 0, (bucket + 1) * policy.bucket_ms)
    if e.log_ms >= tomorrow_ms or e.log_ms < tomorrow_ms - DAY_MS then
      today = floor(e.log_ms / DAY_MS)
      tomorrow_ms = (today + 1) * DAY_MS
    end
    if kind == EVENT then
      resolve(e)
    elseif kind == UNLINK then
      unlink(e)
    elseif kind == LINK then
      link(e)
    elseif kind == REFUSE then
      refuse(e)
    elseif kind == RELEASE then
      release(e)
    else
      erase(e)
    end
  end
end

-- 4. write, position last -----------------------------------------------------------------------------------------
-- A script is not undone when a command fails: everything is packed before the first write.
local entry = ''
if #out > 0 or #others > 0 then
  batches = batches + 1
  entry = cmsgpack.pack({tonumber(ARGV[3]), table.concat(out), others, batches, tonumber(ARGV[4]), rolls})
end
local adopted_text = adopted and cmsgpack.pack(adopted)
local sets, dels = {}, {}
local function set(key, value)
  local place = #sets
  sets[place + 1], sets[place + 2] = key, value
end
-- A node that is moved without having been named by the batch keeps the tail it has.
local unread = {}
for id in pairs(ident_new) do
  if not ids_once[id] then unread[#unread + 1] = id end
end
for id, raw in pairs(load(tag .. ':i:', unread)) do
  if #raw > 18 then node_of[id] = sub(raw, -ID) end
  if #raw == 18 or #raw == 35 then days[id] = unpack_struct('>I2', raw, 17) end
end
local place, prefix, day_text = 0, tag .. ':i:', {}
for id, c in pairs(ident_new) do
  local day, node = days[id], node_of[id]
  if c == '-' then
    if node then c = '-\0' .. node end
  else
    if day then
      local text = day_text[day]
      if not text then
        text = pack_struct('>I2', day)
        day_text[day] = text
      end
      c = c .. text
    end
    if node then c = c .. node end
  end
  sets[place + 1], sets[place + 2] = prefix .. id, c
  place = place + 2
end
for id, C in pairs(cust) do
  set(tag .. ':c:' .. id, pack_struct('>I4BI7I2', C.n, C.state, C.age, #C.ids / ID) .. C.ids .. edges_of(C))
end
for id, birth in pairs(births) do set(tag .. ':b:' .. id, birth) end
for id in pairs(gone) do dels[#dels + 1] = tag .. ':c:' .. id end
chunked('MSET', nil, sets, 2)
chunked('DEL', nil, dels, 1)
for key, run in pairs(said_new) do redis.call('SADD', tag .. ':said:' .. run, key) end
if said > tonumber(counters[4] or 0) then
  local before = floor(tonumber(counters[4] or 0) / policy.said_most)
  for run = max(0, before - 1), floor(said / policy.said_most) - 2 do
    redis.call('UNLINK', tag .. ':said:' .. run)
  end
end
for bucket, list in pairs(seen_new) do
  chunked('SADD', tag .. ':seen:' .. bucket, list, 1)
  if not buckets[bucket] then redis.call('SADD', tag .. ':seen', bucket) end
end
if adopted then
  redis.call('HSET', tag .. ':policy', 'number', adopted[1], 'told', adopted[2])
  redis.call('RPUSH', tag .. ':policies', adopted_text)
  redis.call('LTRIM', tag .. ':policies', -1000, -1)
end
if entry ~= '' then
  redis.call('HSET', tag .. ':counters', 'g', g, 'created', created, 'batches', batches, 'said', said)
end
commit(KEYS[1], KEYS[2], ARGV[2], ARGV[4], ARGV[6], tonumber(ARGV[5]), entry, ARGV[8],
  'has_entry', entry ~= '' and '1' or '0')
return {'OK', entry, duplicates, dropped, untold}
