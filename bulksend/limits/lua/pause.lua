-- ARGV: pair tolerance, act (pause, resume or list), field, why.
local act, field = ARGV[2], ARGV[3]
if act == 'list' then
  load_state()
  return state.epoch and redis.call('HGETALL', own('pauses')) or {}
end
remember(tonumber(ARGV[1]), false)
if act == 'pause' then
  redis.call('HSET', own('pauses'), field, written(now) .. ' ' .. ARGV[4])
elseif state.warm == 1 then
  redis.call('HDEL', own('pauses'), field)
else
  -- A restore in progress may have read the ledger before the resume.
  redis.call('HSET', own('pauses'), field, '-')
end
save_state()
return 1
