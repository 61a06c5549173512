-- Permits for messages, better lanes first. The call: `lead_ms`, `per_slice` (how many messages the caller can begin in
-- a slice), `groups` of asks with the same limits, `of` (the group of each ask), `recipients` (their tags in one text).
-- Returns now, epoch, whether to restore, when the breaker opened, and the answers: a slice, or a gate's name and its
-- instant. While the breaker is open, a slice is that of a probe.
local answers, given = {}, 0

-- A wait that holds for the rest of its group.
local function hold(group, wait)
  group.held = wait_text(wait)
  return group.held
end

local function spend(group, slice)
  begun[slice] = (begun[slice] or 0) + 1
  take(group.limit, slice, group.kind)
  if account then take(account, token_for(account, slice, group), group.kind) end
  if group.window then take_of_campaign(group, slice) end
  if state.open_ms > 0 then set('probe_until', now + PROBE_MS) end
  given = given + 1
  return slice
end

-- The answer to the message at `places[at]`.
local function one(group, places, at)
  local out = outage()
  if out then return hold(group, out) end
  local slice, wait = slice_for(group)
  if not slice then return hold(group, wait) end
  -- Pair rate and quota count a message once, however often it asks again.
  if not group.counted then
    local tag = tag_of(places[at])
    local pair = group.sender .. tag
    if not pairs_known[pair] then read_recipients(group.sender, places, at) end
    wait = quota_wait(group, tag) or pair_wait(pair)
    if wait then return wait_text(wait) end
    count(group, tag, pair, begin_of(slice))
  end
  return spend(group, slice)
end

-- By lane: the messages of each sender that nothing holds, in the order of the asks.
local function queues_of_lanes()
  local lanes, queues = {otp = {}, utility = {}, marketing = {}}, {}
  for place, number in ipairs(call.of) do
    local group = call.groups[number]
    local key = group.kind .. group.sender
    if group.held then
      answers[place] = group.held
    else
      if not queues[key] then
        queues[key] = {next = 1}
        table.insert(lanes[group.kind], queues[key])
      end
      table.insert(queues[key], place)
    end
  end
  return lanes
end

-- Answers the next message of a queue whose group nothing holds, and those before it. Nil at the end.
local function serve_next(queue)
  for at = queue.next, #queue do
    local place = queue[at]
    local group = call.groups[call.of[place]]
    if not group.held then
      answers[place], queue.next = one(group, queue, at), at + 1
      return true
    end
    answers[place] = group.held
  end
end

-- One message of each sender in turn, in the order of its asks: the caller knows how its campaigns share the sender.
-- The sender that would have been next in the last call begins.
local function serve(queues)
  for _ = 1, #queues > 0 and state.turn % #queues or 0 do table.insert(queues, table.remove(queues, 1)) end
  while #queues > 0 do
    local going = {}
    for _, queue in ipairs(queues) do
      if serve_next(queue) then going[#going + 1] = queue end
    end
    queues = going
  end
end

function acts.ask()
  local needs_restore = state.warm == 0
  for _, group in ipairs(call.groups) do
    local paused, chill = pauses_of(group)[1], cold(group)
    if paused or chill then
      hold(group, paused or chill)
      -- A restore helps when the time is over for which nothing is given.
      needs_restore = needs_restore or (not paused and now >= state.cold_until)
    end
  end
  for _, group in ipairs(call.groups) do
    if not group.held then prepare(group) end
  end
  local lanes = queues_of_lanes()
  for _, kind in ipairs(LANES) do serve(lanes[kind]) end
  set('turn', (state.turn + given) % 1000000)
  save_taken()
  save_recipients()
  for _, group in ipairs(call.groups) do save_window(group) end
  return {written(now), state.epoch, needs_restore and 1 or 0, opened_text(), answers}
end
