-- All gates that hold one message now. Writes nothing, so it begins no epoch.
load_state()
if not state.epoch then return {'cold ' .. written(now + BLACKOUT_MS)} end
read_account()
local group = read_group(FIRST_GROUP)
local found = pauses_of(group)
local function add(wait)
  if wait then found[#found + 1] = wait end
end
add((cold(group)))
local til = outage_until()
if til then add({'outage', til}) end
prepare(group)
for _, wait in ipairs(rates_that_hold(group)) do add(wait) end
local recipient, pair = recipient_of(group, 1)
add((quota_wait(group, recipient)))
add((pair_wait(group, pair)))
local texts = {}
for i, wait in ipairs(found) do texts[i] = wait_text(wait) end
return texts
