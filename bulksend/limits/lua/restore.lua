-- ARGV: pair tolerance, how many senders, their tags, then the fields of the pauses.
-- Called after the recipients have been loaded. Only the first restore of an epoch writes pauses.
remember(tonumber(ARGV[1]), false)
local senders = tonumber(ARGV[2])
for i = 3, 2 + senders do
  local key = own('sender:' .. ARGV[i])
  redis.call('HSET', key, 'quota_known', '1')
  redis.call('PEXPIRE', key, DAY_MS + 60000)
end
if state.warm == 0 then
  local key = own('pauses')
  for i = 3 + senders, #ARGV do redis.call('HSETNX', key, ARGV[i], written(now) .. ' ') end
  local flags = redis.call('HGETALL', key)
  for i = 1, #flags, 2 do
    if flags[i + 1] == '-' then redis.call('HDEL', key, flags[i]) end
  end
  set('warm', 1)
end
save_state()
return state.epoch
