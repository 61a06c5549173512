-- All gates that hold one message now: a call as in ask.lua, with one ask.
function looks.peek()
  local group = call.groups[1]
  prepare(group)
  local found = pauses_of(group)
  local function add(wait)
    if wait then found[#found + 1] = wait end
  end
  local function add_rate(gate, limit)
    for slice = group.first_slice, group.last_slice do
      if token_for(limit, slice, group) then return end
    end
    add(wait_for(gate, limit, group))
  end
  add(cold(group))
  add(outage())
  add_rate('sender_rate', group.limit)
  if account then add_rate('account_rate', account) end
  add(select(2, campaign_slice(group)))
  if not group.counted then
    local tag = tag_of(1)
    read_recipients(group.sender, {1}, 1)
    add(quota_wait(group, tag))
    add(pair_wait(group.sender .. tag))
  end
  for i, wait in ipairs(found) do found[i] = wait_text(wait) end
  return found
end

-- What a new code can expect. The call: the account's `quota`, `senders` by their tags. Returns as JSON, times in ms:
-- for how long there are no permits, as it is cold and as the circuit breaker is open; for how long there have been
-- some; how many recipients the quota counts; of the account and of each sender the part of its rate that it uses, how
-- long until that is all of it, and how long until the first slice behind all of which something is taken.
function looks.outlook()
  local chill, out = cold(call), outage()
  local open = now - max(state.cold_until, state.closed)
  if state.open_ms > 0 or chill then open = 0 end
  local limits = {}
  local function add(field)
    local memory, free_at = memory_of(field), now
    for _, of_lane in pairs(memory.taken) do
      for slice in pairs(of_lane) do free_at = max(free_at, begin_of(slice + 1)) end
    end
    local climbs_until = memory.slow and string.match(memory.slow, '%S+ (%S+)') + CLIMB_MS or now
    limits[#limits + 1] = {factor_at(memory.slow, now), max(0, climbs_until - now), free_at - now}
  end
  add(ACCOUNT)
  for _, tag in ipairs(call.senders) do add('sender:' .. tag) end
  return cjson.encode({
    cold_ms = chill and chill[2] - now or 0,
    outage_ms = out and out[2] - now or 0,
    open_ms = open,
    quota_used = redis.call('ZCOUNT', quota_key, '(' .. written(now - DAY_MS), '+inf'),
    limits = limits,
  })
end
