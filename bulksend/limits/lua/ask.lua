-- Permits for groups of messages, better lanes first. Returns now, workers, epoch, whether to restore, answers:
-- a slot as a number, or a gate's name and its instant.
remember(pair_tolerance, string.find(mode, 'restarted') ~= nil)
if string.find(mode, 'returned') then
  -- The caller, and so perhaps others, had limits of their own meanwhile: let those slots run out first.
  set('cold_until', math.max(state.cold_until, now + RETURN_BLACKOUT_MS))
  set('pair_floor', now + pair_tolerance)
end

local workers_key = root .. 'workers'
if worker ~= '' then redis.call('ZADD', workers_key, written(now), worker) end
redis.call('ZREMRANGEBYSCORE', workers_key, '-inf', written(now - WORKER_MS))
redis.call('ZREMRANGEBYSCORE', workers_key, written(now + WORKER_MS), '+inf')
local workers = math.max(1, redis.call('ZCARD', workers_key))

read_account()
local answers, given = {}, 0
local needs_restore = state.warm == 0

local function pair_at(group, place)
  return string.sub(group.pairs, (place - 1) * PAIR_LENGTH + 1, place * PAIR_LENGTH)
end

-- What is counted by recipient: once a message, however often it exchanges its slot.
local function count(group, pair, slot, text, ahead_of)
  if group.quota >= 0 then
    local new = redis.call('ZADD', root .. 'quota:' .. group.sender, text, pair)
    group.own.recipients = group.own.recipients + new
  end
  local til = math.max(ahead_of, slot) + pair_interval
  redis.call('SET', own('pair:' .. pair), written(til), 'PX', math.ceil(til - now))
end

local function spend(group, pair, slot, gap, shared_gap, ahead_of)
  local text = written(slot)
  slot = tonumber(text)
  take(group.own.line, slot, gap, group.reach)
  if account_line then take(account_line, slot, shared_gap, group.reach) end
  if group.campaign_rate > 0 then
    local window = group.window
    window.slots[#window.slots + 1] = slot
    window.fresh[#window.fresh + 1] = text
    window.first = math.max(window.first, #window.slots - group.most + 1)
  end
  if not group.exchange then count(group, pair, slot, text, ahead_of) end
  if state.open_ms > 0 then set('probe_at', now + PROBE_EVERY_MS) end
  given = given + 1
  return text
end

-- The answer to one message, and whether it is that of all the rest of its group.
local function one(group, place)
  local til = outage_until()
  if til then return wait_text({'outage', til}), true end
  local slot, gap, shared_gap = slot_of(group)
  if not slot then return wait_text(gap), true end
  local pair = pair_at(group, place)
  local wait = quota_wait(group, pair, false)
  if wait then return wait_text(wait), false end
  local held, ahead_of = pair_wait(group, pair)
  if held then return wait_text(held), false end
  return spend(group, pair, slot, gap, shared_gap, ahead_of), false
end

local function fill(group, from, to, answer)
  for place = from, to do answers[group.first + place] = answer end
end

-- One message of each group in turn, so that campaigns of one lane share what there is.
-- Who begins is who would have been next in the last call.
local function serve(groups)
  for _ = 1, #groups > 0 and state.turn % #groups or 0 do table.insert(groups, table.remove(groups, 1)) end
  while #groups > 0 do
    local going = {}
    for _, group in ipairs(groups) do
      local answer, for_all = one(group, group.next)
      local last = for_all and group.size or group.next
      fill(group, group.next, last, answer)
      group.next = last + 1
      if last < group.size then going[#going + 1] = group end
    end
    groups = going
  end
end

local function keep_window(group)
  local window = group.window
  if not window or #window.fresh == 0 then return end
  redis.call('RPUSH', window.key, unpack(window.fresh))
  redis.call('LTRIM', window.key, window.first - 1 - #window.slots, -1)
  redis.call('PEXPIRE', window.key, math.ceil(group.span + FARTHEST_MS + 1000))
  window.fresh = {}
end

local lanes, all, first = {otp = {}, utility = {}, marketing = {}}, {}, 0
for at = FIRST_GROUP, #ARGV, GROUP_SIZE do
  local group = read_group(at)
  group.first, group.next, first = first, 1, first + group.size
  local pause = pauses_of(group)[1]
  local chill, helps = cold(group)
  if pause or chill then
    fill(group, 1, group.size, wait_text(pause or chill))
    if not pause and helps then needs_restore = true end
  else
    prepare(group)
    all[#all + 1] = group
    table.insert(lanes[group.kind], group)
  end
end
for _, kind in ipairs(LANES) do serve(lanes[kind]) end
set('turn', (state.turn + given) % 1000000)

for _, group in ipairs(all) do
  keep_window(group)
  if group.quota >= 0 then redis.call('PEXPIRE', root .. 'quota:' .. group.sender, DAY_MS + 60000) end
end
for tag, sender in pairs(senders) do
  if sender.touched then
    local key = own('sender:' .. tag)
    redis.call('HSET', key, 'line', write_line(sender.line))
    if sender.quota_lost then redis.call('HDEL', key, 'quota_known') end
    redis.call('PEXPIRE', key, DAY_MS + 60000)
  end
end
if account_line then set('line', write_line(account_line)) end
save_state()
return {written(now), workers, state.epoch, needs_restore and 1 or 0, answers}
