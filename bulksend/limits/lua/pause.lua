-- ARGV: pair tolerance, act (pause or resume), field.
local act, field = ARGV[2], ARGV[3]
remember(tonumber(ARGV[1]), false)
if act == 'pause' then
  redis.call('HSET', own('pauses'), field, '1')
elseif state.warm == 1 then
  redis.call('HDEL', own('pauses'), field)
else
  -- A restore in progress may have read the ledger before the resume.
  redis.call('HSET', own('pauses'), field, '-')
end
save_state()
return 1
