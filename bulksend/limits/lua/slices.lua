-- Slices of time, and the tokens that a limit has in each: docs/decisions/0002.
local floor, max, min = math.floor, math.max, math.min

-- When the caller's messages can begin: set in gates.lua.
local soonest = now

local function begin_of(slice) return slice * SLICE_MS end

-- What was taken of a limit: by lane, how many tokens of each slice that are still of use.
local function read_taken(packed)
  local taken = packed and cmsgpack.unpack(packed) or {}
  for _, lane in ipairs(LANES) do taken[lane] = taken[lane] or {} end
  return taken
end

local function write_taken(taken, carry)
  for _, of_lane in pairs(taken) do
    for slice in pairs(of_lane) do
      if begin_of(slice + 1 + carry) <= now then of_lane[slice] = nil end
    end
  end
  return cmsgpack.pack(taken)
end

-- The last slice of which anything was taken, or nil.
local function last_taken(taken)
  local last
  for _, of_lane in pairs(taken) do
    for slice in pairs(of_lane) do last = max(last or slice, slice) end
  end
  return last
end

-- `paces`: texts of what the vendor throttled, see factor_at. `carry`: how many slices later than in its own a token may
-- be used. Tokens of as many slices more lie in a window then, so each slice has fewer.
local function limit_of(rate, taken, paces, carry)
  return {rate = rate, window = WINDOW + carry, taken = taken, paces = paces, carry = carry, parts = {}}
end

-- The part of its rate that a throttled limit uses: the same for all slices of a second, for each caller.
local function part_in(limit, slice)
  local second = floor(slice / SLICES_PER_SECOND)
  local part = limit.parts[second]
  if not part then
    part = 1
    for _, text in ipairs(limit.paces) do part = part * factor_at(text, second * 1000) end
    limit.parts[second] = part
  end
  return part
end

-- How many of the tokens numbered after `from` up to `to` belong to a part of all.
local function share(from, to, part) return floor(to * part) - floor(from * part) end

-- How many tokens a slice has, and how many of them are kept for codes and for bulk.
-- As many slices in a row as a window and its carry have hold at most the limit's messages of a second, rounded up.
local function tokens_of(limit, slice)
  local at, part = slice % CYCLE, part_in(limit, slice)
  local from = floor(floor(at * limit.rate / limit.window) * part)
  local to = floor(floor((at + 1) * limit.rate / limit.window) * part)
  local for_codes = max(1 / CODES_EVERY, min(1 / 2, limit.window / (CODES_SLICES * limit.rate * part)))
  local tokens, for_bulk = to - from, share(from, to, 1 / BULK_EVERY)
  return tokens, min(share(from, to, for_codes), tokens - for_bulk), for_bulk
end

local function left_of(limit, slice, tokens)
  for _, of_lane in pairs(limit.taken) do tokens = tokens - (of_lane[slice] or 0) end
  return tokens
end

-- How many more messages of a group a slice of a limit has room for, and how many it would have without what is kept
-- for other lanes until shortly before it begins.
local function room(limit, slice, group)
  local tokens, for_codes, for_bulk = tokens_of(limit, slice)
  local left, away, kept = left_of(limit, slice, tokens), begin_of(slice) - soonest, 0
  if away > CODES_CLOSE_MS and not group.code and not group.narrow then
    kept = max(0, for_codes - (limit.taken.otp[slice] or 0))
  end
  if away > BULK_CLOSE_MS and not group.bulk then
    kept = kept + max(0, for_bulk - (limit.taken.marketing[slice] or 0))
  end
  return left - kept, left
end

-- The slice whose token a message that begins in `slice` uses: the oldest one with room; nil where there is none.
local function token_for(limit, slice, group)
  for each = slice - limit.carry, slice do
    if room(limit, each, group) > 0 then return each end
  end
end

local function take(limit, slice, kind)
  local of_lane = limit.taken[kind]
  of_lane[slice] = (of_lane[slice] or 0) + 1
end

-- The wait of a group for a limit without room in its reach: until something kept for others is released to it, or
-- the next slice with room comes within its reach.
local function wait_for(gate, limit, group)
  local opens = now + 1000
  for slice = group.first_slice - limit.carry, group.last_slice do
    local has, left = room(limit, slice, group)
    if has <= 0 and left > 0 then
      opens = min(opens, begin_of(slice) - (group.code and BULK_CLOSE_MS or CODES_CLOSE_MS) - (soonest - now))
    end
  end
  for slice = group.last_slice + 1, group.last_slice + WINDOW do
    if room(limit, slice, group) > 0 then return {gate, min(opens, begin_of(slice) - group.ahead)} end
  end
  return {gate, opens}
end
