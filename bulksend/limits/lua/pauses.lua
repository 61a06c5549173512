-- Pauses, and the restore after a loss of memory. The call: `field`; of a restore the fields of the ledger's pauses
-- (`pauses`), and whether the recipients of an account with a quota have been loaded (`quota_known`).
function acts.pause() redis.call('HSET', own('pauses'), call.field, '1') end

function acts.resume()
  if state.warm == 1 then
    redis.call('HDEL', own('pauses'), call.field)
  else
    -- A restore in progress may have read the ledger before the resume.
    redis.call('HSET', own('pauses'), call.field, '-')
  end
end

-- Only the first restore of an epoch writes pauses.
function acts.restore()
  if call.quota_known then set('quota_known', 1) end
  if state.warm == 1 then return end
  local key = own('pauses')
  for _, field in ipairs(call.pauses) do redis.call('HSETNX', key, field, '1') end
  local flags = redis.call('HGETALL', key)
  for i = 1, #flags, 2 do
    if flags[i + 1] == '-' then redis.call('HDEL', key, flags[i]) end
  end
  set('warm', 1)
end
