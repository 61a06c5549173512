-- Results of POSTs. The call: the fields to slow down (`slow`), `successes`, the `outages` after them, and whether the
-- probe is over (`probe_over`). Returns when the circuit breaker opened, and of each field that became slower the part
-- of its rate that was used before and is used now.
local function slow_down(field)
  local slow = memory_of(field).slow
  local before = factor_at(slow, now)
  if before < 1 and now - string.match(slow, '%S+ (%S+)') < SLOW_EVERY_MS then return nil end
  local after = max(SLOWEST, before / 2)
  redis.call('HSET', own(field), 'slow', exact(after) .. ' ' .. written(now))
  keep_a_day(own(field))
  return after < before and {field, exact(before), exact(after)}
end

function acts.report()
  local slowed = {}
  for _, field in ipairs(call.slow) do slowed[#slowed + 1] = slow_down(field) or nil end
  if call.probe_over then set('probe_until', 0) end
  if call.successes > 0 and state.outages > 0 then
    for _, name in ipairs({'outages', 'open_until', 'open_ms', 'probe_until'}) do set(name, 0) end
    set('closed', now)
  end
  if call.outages > 0 then
    set('outages', state.outages + call.outages)
    if state.outages >= OUTAGES and now >= state.open_until then
      set('open_ms', min(OPEN_MOST_MS, max(OPEN_MS, state.open_ms * 2)))
      set('open_until', now + state.open_ms)
    end
  end
  return {opened_text(), slowed}
end
