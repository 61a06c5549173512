-- Slices of time, and the tokens that a limit has in each: docs/decisions/0002.
local LANES = {'otp', 'utility', 'marketing'}

-- When the caller's messages can begin.
local soonest = now + min(max(call.lead_ms or 0, 0), MAX_LEAD_MS)

local function begin_of(slice) return slice * SLICE_MS end

-- What is kept of a sender, or of the account: by lane, how many tokens of each slice are taken that are still of use;
-- and how the vendor throttled it.
local memories = {}

local function memory_of(field)
  if not memories[field] then
    local found = redis.call('HMGET', own(field), 'taken', 'slow')
    local taken = found[1] and cmsgpack.unpack(found[1]) or {}
    for _, lane in ipairs(LANES) do taken[lane] = taken[lane] or {} end
    memories[field] = {taken = taken, slow = found[2], changed = false}
  end
  return memories[field]
end

local function save_taken()
  for field, memory in pairs(memories) do
    if memory.changed then
      for _, of_lane in pairs(memory.taken) do
        for slice in pairs(of_lane) do
          if begin_of(slice + 1 + ACCOUNT_CARRY) <= now then of_lane[slice] = nil end
        end
      end
      redis.call('HSET', own(field), 'taken', cmsgpack.pack(memory.taken))
      keep_a_day(own(field))
    end
  end
end

-- The part of a rate that is used at an instant after the vendor throttled it: see report.lua for the text.
local function factor_at(slow, instant)
  if not slow then return 1 end
  local factor, at = string.match(slow, '(%S+) (%S+)')
  return min(1, factor + (1 - factor) * max(0, instant - at) / CLIMB_MS)
end

-- `slows`: what the vendor throttled. `carry`: how many slices later than in its own a token may be used. Tokens of as
-- many slices more lie in a window then, so each slice has fewer.
local function limit_of(rate, memory, slows, carry)
  return {rate = rate, window = WINDOW + carry, memory = memory, slows = slows, carry = carry, parts = {}}
end

-- The part of its rate that a throttled limit uses: the same for all slices of a second, for each caller.
local function part_in(limit, slice)
  local second = floor(slice / SLICES_PER_SECOND)
  local part = limit.parts[second]
  if not part then
    part = 1
    for _, slow in ipairs(limit.slows) do part = part * factor_at(slow, second * 1000) end
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

-- How many more messages of a group a slice of a limit has room for, and how many it would have without what is kept
-- for other lanes until shortly before it begins.
local function room(limit, slice, group)
  local left, for_codes, for_bulk = tokens_of(limit, slice)
  local taken, away, kept = limit.memory.taken, begin_of(slice) - soonest, 0
  for _, of_lane in pairs(taken) do left = left - (of_lane[slice] or 0) end
  if away > CODES_CLOSE_MS and group.kind ~= 'otp' and not group.campaign_rate then
    kept = max(0, for_codes - (taken.otp[slice] or 0))
  end
  if away > BULK_CLOSE_MS and group.kind ~= 'marketing' then
    kept = kept + max(0, for_bulk - (taken.marketing[slice] or 0))
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
  local of_lane = limit.memory.taken[kind]
  of_lane[slice] = (of_lane[slice] or 0) + 1
  limit.memory.changed = true
end

-- The wait of a group for a limit without room in its reach: until something kept for others is released to it, or
-- the next slice with room comes within its reach.
local function wait_for(gate, limit, group)
  local opens = now + 1000
  for slice = group.first_slice - limit.carry, group.last_slice do
    local has, left = room(limit, slice, group)
    if has <= 0 and left > 0 then
      local close = group.kind == 'otp' and BULK_CLOSE_MS or CODES_CLOSE_MS
      opens = min(opens, begin_of(slice) - close - (soonest - now))
    end
  end
  for slice = group.last_slice + 1, group.last_slice + WINDOW do
    if room(limit, slice, group) > 0 then return {gate, min(opens, begin_of(slice) - group.ahead)} end
  end
  return {gate, opens}
end
