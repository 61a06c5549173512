-- ARGV: pair tolerance, outages, successes, whether the probe is over, then the fields to slow down.
-- The successes came before the outages. Returns when the circuit breaker opened, and of each field that became slower
-- the part of its rate that was used before and is used now.
remember(tonumber(ARGV[1]), false)

local changed_paces = {}

local function slowed(text, field)
  local at = text and tonumber(string.match(text, '%S+ (%S+)'))
  if at and tonumber(string.match(text, '%S+')) < 1 and now - at < SLOW_EVERY_MS then return nil end
  local before = factor_at(text, now)
  local after = math.max(SLOWEST, before / 2)
  if after < before then
    for _, each in ipairs({field, string.format('%.17g', before), string.format('%.17g', after)}) do
      changed_paces[#changed_paces + 1] = each
    end
  end
  return string.format('%.17g', after) .. ' ' .. written(now)
end

for i = 5, #ARGV do
  local scope, tag = string.match(ARGV[i], '(%a+):(.*)')
  if scope == 'account' then
    local text = slowed(state.slow, ARGV[i])
    if text then set('slow', text) end
  else
    local key = own(scope .. ':' .. tag)
    local text = slowed(redis.call('HGET', key, 'slow'), ARGV[i])
    if text then
      redis.call('HSET', key, 'slow', text)
      redis.call('PEXPIRE', key, DAY_MS + 60000)
    end
  end
end

local outages, successes = tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[4] == '1' then set('probe_until', 0) end
if successes > 0 and state.outages > 0 then
  for _, name in ipairs({'outages', 'open_until', 'open_ms', 'probe_until'}) do set(name, 0) end
  set('closed', now)
end
if outages > 0 then
  set('outages', state.outages + outages)
  if state.outages >= OUTAGES and now >= state.open_until then
    set('open_ms', math.min(OPEN_MOST_MS, math.max(OPEN_MS, state.open_ms * 2)))
    set('open_until', now + state.open_ms)
  end
end
save_state()
return {opened_text(), changed_paces}
