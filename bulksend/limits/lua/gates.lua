-- The gates, one function each; the counterpart of tests/limiter/local_permits.py. A wait is {gate, until}, without an
-- instant where an act ends it. The groups of asks are made in redis_permits.py.
local account = ACCOUNT_RATE and limit_of(ACCOUNT_RATE, memory_of(ACCOUNT), {memory_of(ACCOUNT).slow}, ACCOUNT_CARRY)
-- How many messages of this call begin in each slice.
local begun = {}
local per_slice = call.per_slice or math.huge

local PAUSED = {'account_paused', 'sender_paused', 'campaign_paused'}

local function pauses_of(group)
  local found = {}
  local fields = {ACCOUNT, 'sender:' .. group.sender, 'campaign:' .. group.campaign}
  for i, flag in ipairs(redis.call('HMGET', own('pauses'), unpack(fields))) do
    if flag and flag ~= '-' then found[#found + 1] = {PAUSED[i]} end
  end
  return found
end

local function cold(group)
  if now < state.cold_until then return {'cold', state.cold_until} end
  if state.warm == 0 or (group.quota and state.quota_known == 0) then return {'cold', now + COLD_AGAIN_MS} end
end

local function outage()
  if state.open_ms <= 0 or now >= max(state.open_until, state.probe_until) then return nil end
  if now < state.open_until then return {'outage', state.open_until} end
  return {'outage', min(state.probe_until, now + PROBE_LOOK_MS)}
end

-- When the circuit breaker opened; empty while it is closed.
local function opened_text()
  return state.open_ms > 0 and written(state.open_until - state.open_ms) or ''
end

-- The last slices of a campaign with a rate of its own, oldest first, and how many messages begin in each.
local campaigns = {}

local function window_of(campaign)
  if not campaigns[campaign] then
    local packed = redis.call('GET', own('campaign:' .. campaign))
    campaigns[campaign] = packed and cmsgpack.unpack(packed) or {slices = {}, counts = {}, count = 0}
  end
  return campaigns[campaign]
end

-- Whether any asks of this call have a quota.
local has_quota = false

-- Prepares a group: its limits, and the first and the last slice that it may have.
local function prepare(group)
  if group.quota then
    has_quota = true
  elseif state.quota_known ~= 0 then
    set('quota_known', 0) -- its messages are not counted
  end
  local memory = memory_of('sender:' .. group.sender)
  group.limit = limit_of(group.rate, memory, {memory.slow, memory_of(ACCOUNT).slow}, 0)
  -- At least half of the first one is still ahead when its messages are ready.
  group.first_slice = floor(soonest / SLICE_MS + 0.5)
  group.last_slice = floor((soonest + HORIZON_MS[group.kind]) / SLICE_MS)
  group.at, group.ahead = group.first_slice, soonest - now + HORIZON_MS[group.kind]
  if group.campaign_rate then
    group.window = window_of(group.campaign)
    group.most = max(1, math.ceil(group.campaign_rate - 1e-9))
    group.span = math.ceil(group.most * WINDOW / group.campaign_rate)
  end
end

-- The first slice that a campaign's own rate allows: as many messages before it as a second may hold are a window ago,
-- and the last one half of their mean distance, so that it comes in no clumps. Or nil and the wait.
local function campaign_slice(group)
  local window = group.window
  if not window or window.count == 0 then return 0 end
  while window.count - window.counts[1] >= group.most do
    window.count = window.count - table.remove(window.counts, 1)
    table.remove(window.slices, 1)
  end
  local earliest = window.slices[#window.slices] + floor(group.span / group.most / 2)
  if window.count >= group.most then earliest = max(earliest, window.slices[1] + group.span) end
  if earliest <= group.last_slice then return earliest end
  return nil, {'campaign_rate', begin_of(earliest) - group.ahead}
end

local function take_of_campaign(group, slice)
  local window, last = group.window, #group.window.slices
  if window.slices[last] ~= slice then
    last = last + 1
    window.slices[last], window.counts[last] = slice, 0
  end
  window.counts[last] = window.counts[last] + 1
  window.count = window.count + 1
  group.took = true
end

local function save_window(group)
  if not group.took then return end
  local keep_ms = math.ceil(group.span * SLICE_MS + FARTHEST_MS + 1000)
  redis.call('SET', own('campaign:' .. group.campaign), cmsgpack.pack(group.window), 'PX', keep_ms)
end

-- The first slice in which every limit has room for a message; or nil and the wait.
local function slice_for(group)
  local earliest, wait = campaign_slice(group)
  if wait then return nil, wait end
  local tight = group.limit
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

-- The recipients of the account's last 24 h.
local quota_key = root .. 'quota'
-- Recipients are read in chunks, because a call may get far fewer permits than it asks for.
local RECIPIENTS_READ = 64
-- By sender and recipient, until when their messages fill their interval (0: not at all); recipients that the quota
-- counts, as far as this call knows; and how many there are.
local pairs_known, counted, recipients = {}, {}, nil
-- What this call adds to both: score, member, score, member, ...
local pairs_new, counted_new = {}, {}

local function tag_of(place)
  return string.sub(call.recipients, (place - 1) * RECIPIENT_LENGTH + 1, place * RECIPIENT_LENGTH)
end

-- Reads the recipients of a sender's messages: those at `places` from `from` on.
local function read_recipients(sender, places, from)
  local tags, names = {}, {}
  for at = from, min(#places, from + RECIPIENTS_READ - 1) do
    tags[#tags + 1] = tag_of(places[at])
    names[#names + 1] = sender .. tags[#tags]
  end
  for i, til in ipairs(redis.call('ZMSCORE', own('pairs'), unpack(names))) do
    pairs_known[names[i]] = pairs_known[names[i]] or tonumber(til or 0)
  end
  if not has_quota then return end
  for i, at in ipairs(redis.call('ZMSCORE', quota_key, unpack(tags))) do
    if at and tonumber(at) > now - DAY_MS then counted[tags[i]] = true end
  end
end

-- Adds to a sorted set, without what is over. A call takes a few thousand arguments at most.
local function add_scores(key, flat, over, keep_ms)
  if #flat == 0 then return end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', written(over))
  for from = 1, #flat, 2000 do
    redis.call('ZADD', key, unpack(flat, from, min(#flat, from + 1999)))
  end
  redis.call('PEXPIRE', key, math.ceil(keep_ms))
end

local function save_recipients()
  add_scores(quota_key, counted_new, now - DAY_MS, DAY_MS + 60000)
  add_scores(own('pairs'), pairs_new, now, FARTHEST_MS + PAIR_TOLERANCE_MS + PAIR_INTERVAL_MS + 60000)
  pairs_new, counted_new = {}, {}
end

-- Counts a message by its recipient.
local function count(group, tag, pair, begins)
  if group.quota then
    if not counted[tag] then recipients = recipients + 1 end
    counted[tag] = true
    counted_new[#counted_new + 1] = begins
    counted_new[#counted_new + 1] = tag
  end
  local til = max(pairs_known[pair], state.pair_floor, begins) + PAIR_INTERVAL_MS
  pairs_known[pair] = til
  pairs_new[#pairs_new + 1] = til
  pairs_new[#pairs_new + 1] = pair
end

local function quota_wait(group, tag)
  if not group.quota then return nil end
  local since = '(' .. written(now - DAY_MS)
  recipients = recipients or redis.call('ZCOUNT', quota_key, since, '+inf')
  local most = group.quota - (group.kind == 'marketing' and floor(group.quota * OTP_RESERVE) or 0)
  if recipients < most or counted[tag] then return nil end
  save_recipients()
  -- The one whose leaving makes room; there is none for a quota of nothing.
  local leaves = redis.call('ZRANGEBYSCORE', quota_key, since, '+inf', 'WITHSCORES', 'LIMIT', recipients - most, 1)
  return {'quota', leaves[2] and tonumber(leaves[2]) + DAY_MS}
end

local function pair_wait(pair)
  local opens_at = max(pairs_known[pair], state.pair_floor) - PAIR_TOLERANCE_MS
  if opens_at > now then return {'pair_rate', opens_at} end
end

local function wait_text(wait) return wait[1] .. (wait[2] and ' ' .. written(wait[2]) or '') end
