-- Permits for groups of messages, better lanes first. Returns now, epoch, whether to restore, answers, when
-- the breaker opened. An answer is the begin of a slice as a number, that of a probe with its name, or a gate's name
-- and its instant.
remember(pair_tolerance, restarted, seen_epoch, seen_at)

read_account()
local answers = {}
local needs_restore = state.warm == 0

-- Counts by recipient: once for each message, however often it asks again.
local pairs_new, pairs_until = {}, now
local function count(group, recipient, pair, begins, ahead_of)
  if group.quota >= 0 then
    if not counted[recipient] then recipients = recipients + 1 end
    counted[recipient] = true
    uncounted[#uncounted + 1] = begins
    uncounted[#uncounted + 1] = recipient
  end
  local til = max(ahead_of, begins) + pair_interval
  pairs_known[pair] = til
  pairs_until = max(pairs_until, til)
  pairs_new[#pairs_new + 1] = til
  pairs_new[#pairs_new + 1] = pair
end

local function spend(group, recipient, pair, slice, ahead_of)
  begun[slice] = (begun[slice] or 0) + 1
  take(group.limit, slice, group.kind)
  if account then take(account, token_for(account, slice, group), group.kind) end
  if group.narrow then
    local window = group.window
    window.fresh[#window.fresh + 1] = slice
    window.last = slice
    window.first = max(window.first, window.length + #window.fresh - group.most + 1)
  end
  if not group.counted then count(group, recipient, pair, begin_of(slice), ahead_of) end
  given = given + 1
  local text = written(begin_of(slice))
  if state.open_ms <= 0 then return text end
  set('probe_until', now + probe_ms)
  return 'probe ' .. text
end

-- The answer to one message, and whether it holds for the rest of its group.
local function one(group, place)
  local til = outage_until()
  if til then return wait_text({'outage', til}), true end
  local slice, rate_wait = slice_for(group)
  if not slice then return wait_text(rate_wait), true end
  local recipient, pair = recipient_of(group, place)
  local wait = quota_wait(group, recipient)
  if wait then return wait_text(wait), false end
  local held, ahead_of = pair_wait(group, pair)
  if held then return wait_text(held), false end
  return spend(group, recipient, pair, slice, ahead_of), false
end

local function fill(group, from, to, answer)
  for place = from, to do answers[group.first + place] = answer end
end

-- By lane: a queue for each sender, in which each message is its group, in the order of the asks.
local function queues_of(all, free)
  local lanes, by_key = {otp = {}, utility = {}, marketing = {}}, {}
  for _, group in ipairs(free) do
    local key = group.kind .. group.sender
    if not by_key[key] then
      by_key[key] = {at = 0}
      table.insert(lanes[group.kind], by_key[key])
    end
    group.queue = by_key[key]
  end
  for number in string.gmatch(order, '%d+') do
    local group = all[tonumber(number)]
    if group.queue then group.queue[#group.queue + 1] = group end
  end
  return lanes
end

-- The next group of a queue that is not answered yet.
local function next_of(queue)
  repeat
    queue.at = queue.at + 1
    local group = queue[queue.at]
    if not group or group.next <= group.size then return group end
  until false
end

-- One message of each sender in turn, in the order of its asks: the caller knows how its campaigns share the sender.
-- The sender that would have been next in the last call begins.
local function serve(queues)
  for _ = 1, #queues > 0 and state.turn % #queues or 0 do table.insert(queues, table.remove(queues, 1)) end
  while #queues > 0 do
    local going = {}
    for _, queue in ipairs(queues) do
      local group = next_of(queue)
      if group then
        local answer, for_all = one(group, group.next)
        local last = for_all and group.size or group.next
        fill(group, group.next, last, answer)
        group.next = last + 1
        going[#going + 1] = queue
      end
    end
    queues = going
  end
end

local function keep_window(group)
  local window = group.window
  if not window or #window.fresh == 0 then return end
  for from = 1, #window.fresh, 2000 do
    redis.call('RPUSH', window.key, unpack(window.fresh, from, math.min(#window.fresh, from + 1999)))
  end
  redis.call('LTRIM', window.key, window.first - 1 - window.length - #window.fresh, -1)
  redis.call('PEXPIRE', window.key, math.ceil(group.span * SLICE_MS + FARTHEST_MS + 1000))
  window.fresh = {}
end

-- `free`: groups that nothing holds as a whole.
local all, free, first = {}, {}, 0
for at = FIRST_GROUP, #ARGV, GROUP_SIZE do
  local group = read_group(at)
  group.first, group.next, first = first, 1, first + group.size
  local pause = pauses_of(group)[1]
  local chill, helps = cold(group)
  if pause or chill then
    fill(group, 1, group.size, wait_text(pause or chill))
    if not pause and helps then needs_restore = true end
  else
    free[#free + 1] = group
  end
  all[#all + 1] = group
end
for _, group in ipairs(free) do prepare(group) end
local lanes = queues_of(all, free)
for _, kind in ipairs(LANES) do serve(lanes[kind]) end
set('turn', (state.turn + given) % 1000000)

for _, group in ipairs(free) do keep_window(group) end
if #pairs_new > 0 then
  local key = own('pairs')
  redis.call('ZREMRANGEBYSCORE', key, '-inf', written(now))
  add_scores(key, pairs_new)
  redis.call('PEXPIRE', key, math.ceil(pairs_until - now) + 60000)
end
for tag, sender in pairs(senders) do
  if sender.touched then
    local key = own('sender:' .. tag)
    redis.call('HSET', key, 'taken', write_taken(sender.taken, 0))
    redis.call('PEXPIRE', key, DAY_MS + 60000)
  end
end
if recipients then
  redis.call('ZREMRANGEBYSCORE', quota_key, '-inf', written(now - DAY_MS))
  add_scores(quota_key, uncounted)
  redis.call('PEXPIRE', quota_key, DAY_MS + 60000)
end
if account then set('taken', write_taken(account.taken, account.carry)) end
save_state()
return {written(now), state.epoch, needs_restore and 1 or 0, answers, opened_text()}
