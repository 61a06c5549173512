-- The gates, one function each; the counterpart of tests/limiter/local_permits.py.
-- ARGV: lead, whether Redis restarted (1: yes), account rate (0: none), pair interval, pair burst, reserve, account tag,
-- epoch and time of the caller's newest answer (0: none), how many messages the caller can begin in a slice (0: any
-- number), how long a probe may be in flight, each message's group (1: the first) in the order of the asks, then for
-- each group: kind, sender tag, campaign, rate, the account's quota (-1: none), campaign rate (0: none), recipients'
-- tags, and whether pair rate and quota have counted its messages (1: yes).
local lead, restarted = tonumber(ARGV[1]), ARGV[2] == '1'
local account_rate, pair_interval, pair_burst = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local reserve, account_tag = tonumber(ARGV[6]), ARGV[7]
local pair_tolerance = (pair_burst - 1) * pair_interval
local seen_epoch, seen_at = tonumber(ARGV[8]), tonumber(ARGV[9])
local per_slice = ARGV[10] == '0' and math.huge or tonumber(ARGV[10])
local probe_ms, order = tonumber(ARGV[11]), ARGV[12]
local FIRST_GROUP, GROUP_SIZE, RECIPIENTS_READ = 13, 8, 64
soonest = now + min(max(lead, 0), MAX_LEAD_MS)

local account
-- How many messages of this call begin in each slice.
local begun = {}
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
    local found = redis.call('HMGET', own('sender:' .. tag), 'taken', 'slow')
    sender = {taken = read_taken(found[1]), slow = found[2], touched = false}
    senders[tag] = sender
  end
  return sender
end

local function read_account()
  if account_rate > 0 then account = limit_of(account_rate, read_taken(state.taken), {state.slow}, ACCOUNT_CARRY) end
end

local function read_group(at)
  local group = {
    kind = ARGV[at], sender = ARGV[at + 1], campaign = ARGV[at + 2], rate = tonumber(ARGV[at + 3]),
    quota = tonumber(ARGV[at + 4]), campaign_rate = tonumber(ARGV[at + 5]), recipients = ARGV[at + 6],
    counted = ARGV[at + 7] == '1', tags = {}, pairs = {},
  }
  group.size = #group.recipients / RECIPIENT_LENGTH
  all_asks = all_asks + group.size
  group.own = sender_of(group.sender)
  return group
end

-- A campaign's last slices, one a message, oldest first. Of a long list only as much of the beginning is read as this
-- call can need. Slices before `first` do not count any more.
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

-- Prepares a group: its limits, and the first and the last slice that it may have.
local function prepare(group)
  group.own.touched = true
  if group.quota < 0 and state.quota_known ~= 0 then
    set('quota_known', 0) -- its messages are not counted
  end
  group.limit = limit_of(group.rate, group.own.taken, {group.own.slow, state.slow}, 0)
  group.bulk, group.code, group.narrow = group.kind == 'marketing', group.kind == 'otp', group.campaign_rate > 0
  -- At least half of the first one is still ahead when its messages are ready.
  group.first_slice = floor(soonest / SLICE_MS + 0.5)
  group.last_slice = floor((soonest + HORIZON_MS[group.kind]) / SLICE_MS)
  group.at, group.ahead = group.first_slice, soonest - now + HORIZON_MS[group.kind]
  if group.narrow then
    group.window = window_of(group.campaign, all_asks)
    group.most = max(1, math.ceil(group.campaign_rate - 1e-9))
    group.span = math.ceil(group.most * WINDOW / group.campaign_rate)
  end
end

-- The first slice that a campaign's own rate allows: as many messages before it as a second may hold are a window ago,
-- and the last one half of their mean distance, so that it comes in no clumps.
local function campaign_earliest(group)
  local window = group.window
  if not window or not window.last then return 0 end
  local earliest, count = window.last + floor(group.span / group.most / 2), window.length + #window.fresh
  if count - window.first + 1 >= group.most then
    earliest = max(earliest, window_at(window, count - group.most + 1) + group.span)
  end
  return earliest
end

-- The first slice in which every limit has room for a message; or nil and the wait.
local function slice_for(group)
  local earliest, tight = campaign_earliest(group), group.limit
  if earliest > group.last_slice then return nil, {'campaign_rate', begin_of(earliest) - group.ahead} end
  for slice = max(group.at, earliest), group.last_slice do
    if (begun[slice] or 0) < per_slice and room(group.limit, slice, group) > 0 then
      if not account or token_for(account, slice, group) then
        group.at = slice
        return slice
      end
      tight = account
    end
  end
  return nil, wait_for(tight == account and 'account_rate' or 'sender_rate', tight, group)
end

local function has_room(limit, group)
  for slice = group.first_slice, group.last_slice do
    if token_for(limit, slice, group) then return true end
  end
  return false
end

local function rates_that_hold(group)
  local found = {}
  if not has_room(group.limit, group) then found[1] = wait_for('sender_rate', group.limit, group) end
  if account and not has_room(account, group) then found[#found + 1] = wait_for('account_rate', account, group) end
  local earliest = campaign_earliest(group)
  if earliest > group.last_slice then found[#found + 1] = {'campaign_rate', begin_of(earliest) - group.ahead} end
  return found
end

-- Recipients are read in chunks, because a call may get far fewer permits than it asks for.
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
  if group.counted then return end
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
  if group.quota < 0 or group.counted then return nil end
  local known, most = recipients_now(), group.quota
  if group.bulk then most = group.quota - math.floor(group.quota * reserve) end
  if known < most or counted[recipient] then return nil end
  return {'quota', quota_leaves(known - most)}
end

local function pair_wait(group, pair)
  if group.counted then return nil end
  local ahead_of = math.max(pairs_known[pair], state.pair_floor)
  local opens_at = ahead_of - pair_tolerance
  if opens_at > now then return {'pair_rate', opens_at} end
  return nil, ahead_of
end

local function wait_text(wait) return wait[1] .. (wait[2] and ' ' .. written(wait[2]) or '') end
