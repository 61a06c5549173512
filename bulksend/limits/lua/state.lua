-- The memory of the account's limiter, and how a new one begins. KEYS[1] is <root>state.
-- Keys under <root><epoch>: belong to that epoch only and expire.
-- Instants are written to 0.1 us, about the resolution of a double in this century.
local function written(instant) return string.format('%.4f', instant) end

local root = string.sub(KEYS[1], 1, -6)
local now = clock()
local state, changed = {}, {}

local function set(name, value)
  state[name] = value
  changed[name] = type(value) == 'number' and written(value) or value
end

local function own(name) return root .. state.epoch .. ':' .. name end

-- Which Redis process this is. Its memory may be from another process: from a file, or from a replica that lagged.
local function server()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

local NUMBERS = {'began', 'cold_until', 'warm', 'quota_known', 'pair_floor', 'last', 'outages', 'open_until', 'open_ms',
  'probe_until', 'closed', 'turn'}

local function load_state()
  local found = redis.call('HGETALL', KEYS[1])
  for i = 1, #found, 2 do state[found[i]] = found[i + 1] end
  for _, name in ipairs(NUMBERS) do state[name] = tonumber(state[name]) or 0 end
end

-- Begins cold: no permits for a while, and the burst of every pair counts as used.
-- Epochs grow even if the clock goes back, so a caller with a newer epoch shows that this memory is too old.
local function begin_epoch(pair_tolerance, id, seen_epoch)
  local after = math.max(tonumber(state.epoch) or 0, seen_epoch) + 1
  if state.epoch then redis.call('UNLINK', own('pauses'), own('pairs')) end
  redis.call('DEL', KEYS[1])
  state, changed = {}, {}
  for _, name in ipairs(NUMBERS) do state[name] = 0 end
  set('epoch', string.format('%.0f', math.max(now * 1000, after)))
  set('layout', LAYOUT)
  set('server', id)
  set('began', now)
  set('cold_until', now + BLACKOUT_MS)
  set('pair_floor', now + pair_tolerance)
end

-- Whether the caller had an answer that this memory does not know: then it is older, although in the same process.
local function forgot(seen_epoch, seen_at)
  local epoch = tonumber(state.epoch)
  return seen_epoch > epoch or (seen_epoch == epoch and state.last < seen_at - 1)
end

-- Whether there is no memory, or one of another process, of another program or of a later time.
local function is_lost(id)
  return not state.epoch or state.layout ~= LAYOUT or now < state.last - CLOCK_BACK_MS or (id ~= '' and state.server ~= id)
end

-- `restarted`: Redis did not know the caller's script. Where Redis hides its run id, this counts as a restart.
-- `seen_epoch`, `seen_at`: epoch and time of the caller's newest answer, 0 for none.
local function remember(pair_tolerance, restarted, seen_epoch, seen_at)
  load_state()
  local age, id = now - state.began, server()
  if is_lost(id)
    or (id == '' and restarted and not (age >= 0 and age < SAME_START_MS))
    or forgot(seen_epoch or 0, seen_at or 0) then
    begin_epoch(pair_tolerance, id, seen_epoch or 0)
  end
  set('last', math.max(state.last, now))
end

local function save_state()
  local flat = {}
  for name, value in pairs(changed) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', KEYS[1], unpack(flat))
end

-- The part of a rate that is used at an instant after the vendor throttled it: see report.lua for the text.
local function factor_at(text, instant)
  if not text then return 1 end
  local factor, at = string.match(text, '(%S+) (%S+)')
  factor = tonumber(factor)
  if factor >= 1 then return 1 end
  return math.min(1, factor + (1 - factor) * math.max(0, instant - tonumber(at)) / CLIMB_MS)
end

local function outage_until()
  if state.open_ms <= 0 or now >= math.max(state.open_until, state.probe_until) then return nil end
  if now < state.open_until then return state.open_until end
  return math.min(state.probe_until, now + PROBE_LOOK_MS)
end

-- When the circuit breaker opened; empty while it is closed.
local function opened_text()
  return state.open_ms > 0 and written(state.open_until - state.open_ms) or ''
end
