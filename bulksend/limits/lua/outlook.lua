-- What a new code can expect. Writes nothing, so it begins no epoch.
-- ARGV: the account's quota (-1: none), then the tags of senders. Returns for how long there are no permits: as it is
-- cold, and as the circuit breaker is open; for how long there have been some; the number of recipients that the quota
-- counts; of the account and of each sender the part of its rate that it uses, how long until that is all of it, and how
-- long until the first slice behind all of which something is taken.
load_state()
local quota = tonumber(ARGV[1])
local used = redis.call('ZCOUNT', root .. 'quota', '(' .. written(now - DAY_MS), '+inf')
if is_lost(server()) then return {written(BLACKOUT_MS), '0', '0', used, {}} end

local cold, outage = math.max(0, state.cold_until - now), (outage_until() or now) - now
if cold == 0 and (state.warm == 0 or (quota >= 0 and state.quota_known == 0)) then cold = COLD_AGAIN_MS end
local open = now - math.max(state.cold_until, state.closed)
if state.open_ms > 0 or cold > 0 then open = 0 end

local found = {}
local function add(slow, packed)
  local last = last_taken(read_taken(packed))
  local at = slow and tonumber(string.match(slow, '%S+ (%S+)')) or 0
  found[#found + 1] = string.format('%.17g', factor_at(slow, now))
  found[#found + 1] = written(math.max(0, at + CLIMB_MS - now))
  found[#found + 1] = written(math.max(0, last and begin_of(last + 1) - now or 0))
end
add(state.slow, state.taken)
for i = 2, #ARGV do add(unpack(redis.call('HMGET', own('sender:' .. ARGV[i]), 'slow', 'taken'))) end
return {written(cold), written(outage), written(open), used, found}
