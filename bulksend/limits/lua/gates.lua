-- The gates, one function each; the counterpart of tests/limiter/local_permits.py.
-- ARGV: lead, whether Redis restarted (1: yes), account rate (0: none), pair interval, pair burst, reserve, account tag,
-- epoch and time of the caller's newest answer (0: none), how many slots together and how far apart from the next ones
-- (0: as the limits say), how long a probe may be in flight, each message's group
-- (1: the first) in the order of the asks, then for each group: kind, sender tag, campaign, rate,
-- the account's quota (-1: none), campaign rate (0: none), recipients' tags, and the missed slots (empty: no message
-- had one).
local lead, restarted = tonumber(ARGV[1]), ARGV[2] == '1'
local account_rate, pair_interval, pair_burst = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local reserve, account_tag = tonumber(ARGV[6]), ARGV[7]
local pair_tolerance = (pair_burst - 1) * pair_interval
local seen_epoch, seen_at = tonumber(ARGV[8]), tonumber(ARGV[9])
local together, apart_ms = tonumber(ARGV[10]), tonumber(ARGV[11])
local probe_ms, order = tonumber(ARGV[12]), ARGV[13]
local FIRST_GROUP, GROUP_SIZE, RECIPIENTS_READ = 14, 8, 64
local soonest = now + math.min(math.max(lead, 0), MAX_LEAD_MS)

local account_line, account_slow
local all_asks, given = 0, 0
local senders, windows = {}, {}
-- The recipients of the account's last 24 h, as far as this call knows them: how many, who, and those it adds.
local quota_key = root .. 'quota'
local recipients, counted, uncounted = nil, {}, {}

local function pauses_of(group)
  local found = {}
  local flags = redis.call('HMGET', own('pauses'), 'account:' .. account_tag,
    'sender:' .. group.sender, 'campaign:' .. group.campaign)
  for i, gate in ipairs({'account_paused', 'sender_paused', 'campaign_paused'}) do
    if flags[i] and flags[i] ~= '-' then found[#found + 1] = {gate} end
  end
  return found
end

-- The second result: whether a restore helps.
local function cold(group)
  if now < state.cold_until then return {'cold', state.cold_until}, false end
  if state.warm == 0 or (group.quota >= 0 and state.quota_known == 0) then
    return {'cold', now + COLD_AGAIN_MS}, true
  end
end

local function sender_of(tag)
  local sender = senders[tag]
  if not sender then
    local found = redis.call('HMGET', own('sender:' .. tag), 'line', 'slow')
    sender = {line = read_line(found[1]), slow = factor_now(found[2]), touched = false}
    senders[tag] = sender
  end
  return sender
end

local function read_account()
  account_slow = factor_now(state.slow)
  if account_rate > 0 then account_line = read_line(state.line) end
end

local function read_group(at)
  local group = {
    kind = ARGV[at], sender = ARGV[at + 1], campaign = ARGV[at + 2], rate = tonumber(ARGV[at + 3]),
    quota = tonumber(ARGV[at + 4]), campaign_rate = tonumber(ARGV[at + 5]), recipients = ARGV[at + 6],
    missed = ARGV[at + 7], exchange = ARGV[at + 7] ~= '', tags = {}, pairs = {},
  }
  group.size = #group.recipients / RECIPIENT_LENGTH
  all_asks = all_asks + group.size
  group.own = sender_of(group.sender)
  return group
end

-- A campaign's last slots, oldest first. Of a long list only as much of the beginning is read as this call can need.
-- Slots before `first` do not count any more.
local function window_of(campaign, asks)
  local window = windows[campaign]
  if not window then
    local key = own('campaign:' .. campaign)
    window = {key = key, first = 1, fresh = {}, length = redis.call('LLEN', key)}
    window.read = redis.call('LRANGE', key, 0, asks)
    window.last = tonumber(redis.call('LINDEX', key, -1) or nil)
    windows[campaign] = window
  end
  return window
end

local function window_at(window, index)
  if index > window.length then return tonumber(window.fresh[index - window.length]) end
  return tonumber(window.read[index] or redis.call('LINDEX', window.key, index - 1))
end

-- Prepares a group: its timelines, its campaign's last slots, how far it may reach.
local function prepare(group)
  local sender = group.own
  sender.touched = true
  if group.quota < 0 and state.quota_known ~= 0 then
    set('quota_known', 0) -- its messages are not counted
  end
  begin_line(sender.line, now, group.rate, sender.slow * account_slow)
  if account_line then begin_line(account_line, now, account_rate, account_slow) end
  for number in string.gmatch(group.missed, '%S+') do
    local slot = tonumber(number)
    miss(sender.line, slot, soonest)
    if account_line then miss(account_line, slot, soonest) end
  end
  group.reach = {now = now, soonest = soonest, bulk = group.kind == 'marketing', code = group.kind == 'otp',
    narrow = group.campaign_rate > 0}
  group.limit = soonest + HORIZON_MS[group.kind]
  group.ahead = group.limit - now
  if group.campaign_rate > 0 then
    group.window = window_of(group.campaign, all_asks)
    group.most = math.max(1, math.ceil(group.campaign_rate - 1e-9))
    group.span = group.most * window_ms(group.campaign_rate) / group.campaign_rate
  end
end

local function campaign_earliest(group)
  local window = group.window
  if not window.last then return 0 end
  local steps = math.floor((group.span / group.most / 2 + SAME_MS) / group.own.line.step)
  local earliest = window.last + steps * group.own.line.step
  local count = window.length + #window.fresh
  if count - window.first + 1 >= group.most then
    earliest = math.max(earliest, window_at(window, count - group.most + 1) + group.span)
  end
  return earliest
end

-- The wait for a timeline without a slot in reach: for its frontier, or for a slot that is still reserved for others.
local function line_wait(gate, slot, line, group)
  return {gate, math.min(slot - group.ahead, opens(line, group.reach))}
end

-- The first slot that this caller can use: this call has taken some already.
local function usable_from()
  if together < 1 then return soonest end
  return soonest + math.floor(given / together) * apart_ms
end

-- The first slot that every rate allows, with its gaps in both timelines; or nil and the wait.
local function slot_of(group)
  local reach, limit, line = group.reach, group.limit, group.own.line
  local earliest = usable_from()
  if group.campaign_rate > 0 then
    local own = campaign_earliest(group)
    if own > limit then return nil, {'campaign_rate', own - group.ahead} end
    earliest = math.max(earliest, own)
  end
  local slot, gap = fit(line, earliest, reach, earliest > reach.soonest)
  while slot <= limit and account_line do
    local shared, shared_gap = fit(account_line, slot, reach, false)
    if shared <= slot then return slot, gap, shared_gap end
    if shared > limit then return nil, line_wait('account_rate', shared, account_line, group) end
    slot, gap = fit(line, shared, reach, false)
    if slot <= shared then return slot, gap, shared_gap end
  end
  if slot > limit then return nil, line_wait('sender_rate', slot, line, group) end
  return slot, gap, 0
end

local function rates_that_hold(group)
  local found, reach = {}, group.reach
  local function add(gate, line)
    local at = fit(line, reach.soonest, reach, false)
    if at > group.limit then found[#found + 1] = line_wait(gate, at, line, group) end
  end
  add('sender_rate', group.own.line)
  if account_line then add('account_rate', account_line) end
  local earliest = group.campaign_rate > 0 and campaign_earliest(group) or 0
  if earliest > group.limit then found[#found + 1] = {'campaign_rate', earliest - group.ahead} end
  return found
end

-- Recipients are read in chunks, because a call may get far fewer slots than it asks for.
-- `pairs_known`: by sender and recipient, until when their messages fill their interval (0: not at all).
local pairs_known = {}

local function read_recipients(group, from)
  local tags, pairs_read = {}, {}
  for place = from, math.min(group.size, from + RECIPIENTS_READ - 1) do
    local tag = string.sub(group.recipients, (place - 1) * RECIPIENT_LENGTH + 1, place * RECIPIENT_LENGTH)
    local pair = group.sender .. tag
    tags[#tags + 1], pairs_read[#pairs_read + 1] = tag, pair
    group.tags[place], group.pairs[place] = tag, pair
  end
  if group.exchange then return end
  local found = redis.call('ZMSCORE', own('pairs'), unpack(pairs_read))
  for i, pair in ipairs(pairs_read) do
    if not pairs_known[pair] then pairs_known[pair] = tonumber(found[i] or 0) end
  end
  if group.quota < 0 then return end
  local seen = redis.call('ZMSCORE', quota_key, unpack(tags))
  for i, tag in ipairs(tags) do
    if seen[i] and tonumber(seen[i]) > now - DAY_MS then counted[tag] = true end
  end
end

-- The tags of a message's recipient, and of its sender and recipient.
local function recipient_of(group, place)
  if not group.tags[place] then read_recipients(group, place) end
  return group.tags[place], group.pairs[place]
end

-- The number of recipients of an account with a quota.
local function recipients_now()
  if not recipients then
    recipients = redis.call('ZCOUNT', quota_key, '(' .. written(now - DAY_MS), '+inf')
  end
  return recipients
end

-- Score, member, score, member, ...; a call takes a few thousand arguments at most.
local function add_scores(key, flat)
  for from = 1, #flat, 2000 do
    redis.call('ZADD', key, unpack(flat, from, math.min(#flat, from + 1999)))
  end
end

-- When `over` recipients more have left the 24 h. Nil if there are not as many.
local function quota_leaves(over)
  add_scores(quota_key, uncounted)
  uncounted = {}
  local leaves = redis.call('ZRANGEBYSCORE', quota_key, '(' .. written(now - DAY_MS), '+inf', 'WITHSCORES', 'LIMIT', over, 1)
  return leaves[2] and tonumber(leaves[2]) + DAY_MS or nil
end

local function quota_wait(group, recipient)
  if group.quota < 0 or group.exchange then return nil end
  local known, most = recipients_now(), group.quota
  if group.reach.bulk then most = group.quota - math.floor(group.quota * reserve) end
  if known < most or counted[recipient] then return nil end
  return {'quota', quota_leaves(known - most)}
end

local function pair_wait(group, pair)
  if group.exchange then return nil end
  local ahead_of = math.max(pairs_known[pair], state.pair_floor)
  local opens_at = ahead_of - pair_tolerance
  if opens_at > now then return {'pair_rate', opens_at} end
  return nil, ahead_of
end

local function wait_text(wait) return wait[1] .. (wait[2] and ' ' .. written(wait[2]) or '') end
