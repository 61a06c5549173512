-- What a new code can expect. Writes nothing, so it begins no epoch.
-- ARGV: the account's quota (-1: none), then the tags of senders. Returns for how long there are no permits: as it is
-- cold, and as the circuit breaker is open; for how long there have been some; the number of recipients that the quota
-- counts; of the account and of each sender the part of its rate that it uses, and how long until that is all of it.
load_state()
local quota = tonumber(ARGV[1])
if is_lost(server()) then return {written(BLACKOUT_MS), '0', '0', 0, {}} end

local cold, outage = math.max(0, state.cold_until - now), (outage_until() or now) - now
if cold == 0 and (state.warm == 0 or (quota >= 0 and state.quota_known == 0)) then cold = COLD_AGAIN_MS end
local open = now - math.max(state.cold_until, state.closed)
if state.open_ms > 0 or cold > 0 then open = 0 end

local used = quota < 0 and 0 or redis.call('ZCOUNT', root .. 'quota', '(' .. written(now - DAY_MS), '+inf')
local paces = {}
local function add(text)
  local at = text and tonumber(string.match(text, '%S+ (%S+)')) or 0
  paces[#paces + 1] = string.format('%.17g', factor_now(text))
  paces[#paces + 1] = written(math.max(0, at + CLIMB_MS - now))
end
add(state.slow)
for i = 2, #ARGV do add(redis.call('HGET', own('sender:' .. ARGV[i]), 'slow')) end
return {written(cold), written(outage), written(open), used, paces}
