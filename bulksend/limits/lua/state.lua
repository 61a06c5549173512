-- The memory of the account's limiter, and how a new one begins. KEYS[1] is <root>state; ARGV[1] is the call as JSON:
-- what to do (`act`), `seen_epoch` and `seen_at`, the epoch and the time of the caller's newest answer (0: none),
-- `restarted`, whether Redis did not know this script, and what the act needs.
-- Keys under <root><epoch>: belong to that epoch only and expire, but for `pauses`.
local floor, max, min = math.floor, math.max, math.min
local call, now = cjson.decode(ARGV[1]), clock()
local root = string.sub(KEYS[1], 1, -6)
local state, changed, outdated = {}, {}, {}
-- What a call can do. A look changes nothing.
local acts, looks = {}, {}

-- Instants are written to 0.1 us, about the resolution of a double in this century.
local function written(instant) return string.format('%.4f', instant) end

local function exact(number) return string.format('%.17g', number) end

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

-- Begins cold: no permits for a while, and the burst of every pair counts as used.
-- Epochs grow even if the clock goes back, so a caller with a newer epoch shows that this memory is too old.
local function begin_epoch(id, epoch)
  outdated = state.epoch and {KEYS[1], own('pauses')} or {KEYS[1]}
  state, changed = {}, {}
  for _, name in ipairs(NUMBERS) do state[name] = 0 end
  set('epoch', string.format('%.0f', max(now * 1000, epoch + 1)))
  set('layout', LAYOUT)
  set('server', id)
  set('began', now)
  set('cold_until', now + BLACKOUT_MS)
  set('pair_floor', now + PAIR_TOLERANCE_MS)
end

-- A new memory begins where there is none, or one of another process, of another program, of a later time, or one that
-- does not know the caller's newest answer. Where Redis hides its run id, an unknown script counts as a restart.
local function remember()
  local found = redis.call('HGETALL', KEYS[1])
  for i = 1, #found, 2 do state[found[i]] = found[i + 1] end
  for _, name in ipairs(NUMBERS) do state[name] = tonumber(state[name]) or 0 end
  local id, epoch, age = server(), tonumber(state.epoch) or 0, now - state.began
  if epoch == 0 or state.layout ~= LAYOUT or now < state.last - CLOCK_BACK_MS
    or (id ~= '' and state.server ~= id)
    or (id == '' and call.restarted and not (age >= 0 and age < SAME_START_MS))
    or call.seen_epoch > epoch or (call.seen_epoch == epoch and state.last < call.seen_at - 1) then
    begin_epoch(id, max(epoch, call.seen_epoch))
  end
  set('last', max(state.last, now))
end

local function save_state()
  if #outdated > 0 then redis.call('UNLINK', unpack(outdated)) end
  local flat = {}
  for name, value in pairs(changed) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  if #flat > 0 then redis.call('HSET', KEYS[1], unpack(flat)) end
  outdated, changed = {}, {}
end

local function keep_a_day(key) redis.call('PEXPIRE', key, DAY_MS + 60000) end

remember()
