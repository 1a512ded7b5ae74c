-- What Redis gives its scripts beyond Lua 5.1 itself, as far as ours use it: struct and cmsgpack. Returns both.
-- They answer byte for byte as a server does: tests/conformance/test_lua_server.py.
local byte, char, sub, floor = string.byte, string.char, string.sub, math.floor

local function big_endian(value, size)
  local out = {}
  for i = size, 1, -1 do
    out[i] = char(value % 256)
    value = floor(value / 256)
  end
  return table.concat(out)
end

local function number_at(data, at, size)
  local value = 0
  for i = at, at + size - 1 do value = value * 256 + byte(data, i) end
  return value
end

-- struct: big-endian unsigned integers (I<size>, B) and strings of a fixed size (c<size>).
local struct, formats = {}, {}

local function fields_of(format)
  local fields = formats[format]
  if fields then return fields end
  if sub(format, 1, 1) ~= '>' then error('struct: only big-endian formats are imitated: ' .. format) end
  fields = {}
  for kind, size in string.gmatch(sub(format, 2), '(%a)(%d*)') do
    if not string.find('IBc', kind, 1, true) then error('struct: not imitated: ' .. format) end
    fields[#fields + 1] = {kind == 'c', kind == 'B' and 1 or tonumber(size)}
  end
  formats[format] = fields
  return fields
end

function struct.pack(format, ...)
  local out, values = {}, {...}
  for i, field in ipairs(fields_of(format)) do
    local value = values[i]
    if not field[1] then
      value = big_endian(value, field[2])
    elseif #value < field[2] then
      error('string too short')
    else
      value = sub(value, 1, field[2])
    end
    out[i] = value
  end
  return table.concat(out)
end

function struct.unpack(format, data, at)
  local out, fields = {}, fields_of(format)
  at = at or 1
  for i = 1, #fields do
    local size = fields[i][2]
    if at + size - 1 > #data then error('data string too short') end
    out[i] = fields[i][1] and sub(data, at, at + size - 1) or number_at(data, at, size)
    at = at + size
  end
  out[#fields + 1] = at
  return unpack(out, 1, #fields + 1)
end

-- cmsgpack: integers, strings, booleans, nil, arrays; maps are only read.
local cmsgpack, append = {}, nil

local function head(out, size, tiny, most, marks)
  if size <= most then
    out[#out + 1] = char(tiny + size)
  elseif marks[1] and size < 256 then
    out[#out + 1] = char(marks[1], size)
  elseif size < 65536 then
    out[#out + 1] = char(marks[2]) .. big_endian(size, 2)
  else
    out[#out + 1] = char(marks[3]) .. big_endian(size, 4)
  end
end

local function append_number(out, value)
  if floor(value) ~= value then error('cmsgpack: fractions are not imitated') end
  if value >= 0 then
    if value < 128 then out[#out + 1] = char(value)
    elseif value < 256 then out[#out + 1] = char(0xcc, value)
    elseif value < 65536 then out[#out + 1] = '\205' .. big_endian(value, 2)
    elseif value < 4294967296 then out[#out + 1] = '\206' .. big_endian(value, 4)
    else out[#out + 1] = '\207' .. big_endian(value, 8) end
  elseif value >= -32 then
    out[#out + 1] = char(256 + value)
  elseif value >= -128 then
    out[#out + 1] = char(0xd0, 256 + value)
  else
    error('cmsgpack: large negative numbers are not imitated')
  end
end

local function append_array(out, list)
  local count = 0
  for _ in pairs(list) do count = count + 1 end
  if count ~= #list then error('cmsgpack: only arrays are imitated') end
  head(out, count, 0x90, 15, {nil, 0xdc, 0xdd})
  for i = 1, count do append(out, list[i]) end
end

function append(out, value)
  local kind = type(value)
  if kind == 'number' then
    append_number(out, value)
  elseif kind == 'string' then
    head(out, #value, 0xa0, 31, {0xd9, 0xda, 0xdb})
    out[#out + 1] = value
  elseif kind == 'boolean' then
    out[#out + 1] = value and '\195' or '\194'
  elseif kind == 'table' then
    append_array(out, value)
  else
    out[#out + 1] = '\192'
  end
end

function cmsgpack.pack(value)
  local out = {}
  append(out, value)
  return table.concat(out)
end

local read

local function read_many(data, at, count, is_map)
  local out = {}
  for i = 1, count do
    local key, value = i, nil
    if is_map then key, at = read(data, at) end
    value, at = read(data, at)
    out[key] = value
  end
  return out, at
end

local SIZES = {[0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8, [0xd9] = 1, [0xda] = 2, [0xdb] = 4, [0xdc] = 2, [0xdd] = 4,
  [0xde] = 2, [0xdf] = 4}

function read(data, at)
  local mark = byte(data, at)
  at = at + 1
  if mark < 0x80 then return mark, at end
  if mark < 0x90 then return read_many(data, at, mark - 0x80, true) end
  if mark < 0xa0 then return read_many(data, at, mark - 0x90, false) end
  if mark < 0xc0 then return sub(data, at, at + mark - 0xa1), at + mark - 0xa0 end
  if mark >= 0xe0 then return mark - 256, at end
  if mark == 0xc0 then return nil, at end
  if mark == 0xc2 or mark == 0xc3 then return mark == 0xc3, at end
  local size = SIZES[mark]
  if not size then error('cmsgpack: not imitated: ' .. mark) end
  local value = number_at(data, at, size)
  at = at + size
  if mark <= 0xcf then return value, at end
  if mark <= 0xdb then return sub(data, at, at + value - 1), at + value end
  return read_many(data, at, value, mark >= 0xde)
end

function cmsgpack.unpack(data)
  return (read(data, 1))
end

return struct, cmsgpack
