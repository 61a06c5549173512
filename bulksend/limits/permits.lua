-- Permits, several a call. Time is Redis's own. Every key shares one hash tag, so that a cluster keeps one slot.
-- KEYS[1]: prefix. ARGV[1]: constants as JSON. ARGV[2]: asks as JSON. The rules are those of memory.py.
local prefix, c, asks = KEYS[1], cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local state, tats, slows = prefix .. 'state', prefix .. 'tat', prefix .. 'slow'

local epoch = tonumber(redis.call('HGET', state, 'epoch'))
if not epoch then
  if c.peek then epoch = now else
    redis.call('HSET', state, 'epoch', string.format('%.3f', now), 'warm', '0')
    epoch = now
  end
end
local warm = redis.call('HGET', state, 'warm') == '1'
local workers = 1
if c.worker ~= '' and not c.peek then
  redis.call('ZADD', prefix .. 'workers', now, c.worker)
  redis.call('ZREMRANGEBYSCORE', prefix .. 'workers', '-inf', now - c.worker_ms)
end
workers = math.max(1, redis.call('ZCARD', prefix .. 'workers'))

local read = {}
local function tat_of(field)
  if read[field] == nil then read[field] = tonumber(redis.call('HGET', tats, field)) or 0 end
  return read[field]
end
local factors = {}
local function factor_of(field)
  if factors[field] == nil then
    local found = redis.call('HGET', slows, field)
    local factor = 1
    if found then
      local f, at = found:match('([^,]+),([^,]+)')
      factor = math.min(1, tonumber(f) + (1 - tonumber(f)) * (now - tonumber(at)) / c.climb_ms)
    end
    factors[field] = factor
  end
  return factors[field]
end
local paused = {}
local function is_paused(field)
  if paused[field] == nil then paused[field] = redis.call('SISMEMBER', prefix .. 'paused', field) == 1 end
  return paused[field]
end

local fails = tonumber(redis.call('HGET', state, 'fails')) or 0
local open_until = tonumber(redis.call('HGET', state, 'open_until')) or 0
local next_probe = tonumber(redis.call('HGET', state, 'next_probe')) or 0

local function gates_of(ask)
  local found = {}
  local function add(gate, til) found[#found + 1] = {gate, til} end
  if now < epoch + c.blackout_ms then add('cold', epoch + c.blackout_ms) elseif not warm then add('cold', now + 50) end
  if is_paused('a') then add('account_paused', -1) end
  if is_paused('s:' .. ask.s) then add('sender_paused', -1) end
  if is_paused('c:' .. ask.c) then add('campaign_paused', -1) end
  if fails >= c.outages then
    if now < open_until then add('outage', open_until) elseif now < next_probe then add('outage', next_probe) end
  end
  local burst = (c.pair_burst - 1) * c.pair_ms
  local pair = tonumber(redis.call('GET', prefix .. 'p:' .. ask.p)) or math.min(epoch + burst, now + burst)
  if pair < now then pair = now end
  if not ask.x and pair - now > burst then add('pair_rate', pair - burst) end
  if ask.q >= 0 and not ask.x then
    local key = prefix .. 'q:' .. ask.s
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - c.day_ms)
    if not redis.call('ZSCORE', key, ask.h) then
      local most = ask.q
      if not ask.o then most = math.floor(ask.q * (1 - c.reserve)) end
      if redis.call('ZCARD', key) >= most then
        local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
        add('quota', oldest[2] and tonumber(oldest[2]) + c.day_ms or now + 60000)
      end
    end
  end
  local slot = now + c.lead_ms
  local gate
  local function behind(field, name)
    local tat = tat_of(field)
    if tat > slot then slot, gate = tat, name end
  end
  behind('s:' .. ask.s, 'sender_rate')
  if c.account_rate > 0 then behind('a', 'account_rate') end
  if ask.cr > 0 then behind('c:' .. ask.c, 'campaign_rate') end
  if gate and slot > now + math.max(ask.z, c.lead_ms) then add(gate, slot - ask.z) end
  return found, slot, pair
end

local function spend(field, slot, rate)
  read[field] = slot + 1000 / (rate * c.used)
  redis.call('HSET', tats, field, string.format('%.3f', read[field]))
end

local out = {}
for i, ask in ipairs(asks) do
  local found, slot, pair = gates_of(ask)
  if #found > 0 then
    local parts = {}
    for n, gate in ipairs(found) do
      if n > 1 and not c.peek then break end
      parts[#parts + 1] = gate[1] .. ':' .. string.format('%.3f', gate[2])
    end
    out[i] = 'w' .. table.concat(parts, ';')
  elseif c.peek then
    out[i] = 'p' .. string.format('%.3f', slot)
  else
    spend('s:' .. ask.s, slot, ask.r * factor_of('s:' .. ask.s))
    if c.account_rate > 0 then spend('a', slot, c.account_rate * factor_of('a')) end
    if ask.cr > 0 then spend('c:' .. ask.c, slot, ask.cr) end
    if not ask.x then
      local burst_end = pair + c.pair_ms
      redis.call('SET', prefix .. 'p:' .. ask.p, string.format('%.3f', burst_end), 'PX',
        math.ceil(math.max(1000, burst_end - now + c.pair_ms)))
    end
    if ask.q >= 0 and not ask.x then redis.call('ZADD', prefix .. 'q:' .. ask.s, slot, ask.h) end
    if fails >= c.outages then
      next_probe = now + c.probe_ms
      redis.call('HSET', state, 'next_probe', string.format('%.3f', next_probe))
    end
    out[i] = 'p' .. string.format('%.3f', slot)
  end
end
return string.format('%.3f', now) .. ',' .. workers .. ',' .. (warm and '1' or '0') .. ',' .. table.concat(out, ',')
