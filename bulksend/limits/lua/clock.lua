-- The time of Redis, not of a worker. Milliseconds since the epoch, fractional.
local function clock()
  local at = redis.call('TIME')
  return tonumber(at[1]) * 1000 + tonumber(at[2]) / 1000
end
