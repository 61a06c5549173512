-- ARGV: pair tolerance, whether the recipients of an account with a quota have been loaded (1: yes), then the fields of
-- the pauses. Only the first restore of an epoch writes pauses.
remember(tonumber(ARGV[1]), false)
if ARGV[2] == '1' then set('quota_known', 1) end
if state.warm == 0 then
  local key = own('pauses')
  for i = 3, #ARGV do redis.call('HSETNX', key, ARGV[i], '1') end
  local flags = redis.call('HGETALL', key)
  for i = 1, #flags, 2 do
    if flags[i + 1] == '-' then redis.call('HDEL', key, flags[i]) end
  end
  set('warm', 1)
end
save_state()
return state.epoch
