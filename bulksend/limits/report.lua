-- Slow-downs and the breaker. KEYS[1]: prefix. ARGV[1]: constants and report as JSON.
local prefix, c = KEYS[1], cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local state, slows = prefix .. 'state', prefix .. 'slow'
for _, field in ipairs(c.slow) do
  local found = redis.call('HGET', slows, field)
  local factor, at = 1, nil
  if found then
    local f, t = found:match('([^,]+),([^,]+)')
    at = tonumber(t)
    factor = math.min(1, tonumber(f) + (1 - tonumber(f)) * (now - at) / c.climb_ms)
  end
  if not at or now - at >= c.slow_every_ms then
    redis.call('HSET', slows, field, string.format('%.5f,%.3f', math.max(c.slowest, factor / 2), now))
  end
end
if c.successes > 0 then
  redis.call('HDEL', state, 'fails', 'open_until', 'open_ms', 'next_probe')
elseif c.failures > 0 then
  local fails = redis.call('HINCRBY', state, 'fails', c.failures)
  local open_until = tonumber(redis.call('HGET', state, 'open_until')) or 0
  if fails >= c.outages and now >= open_until then
    local open_ms = (tonumber(redis.call('HGET', state, 'open_ms')) or 0) * 2
    open_ms = math.min(c.open_most_ms, math.max(c.open_ms, open_ms))
    redis.call('HSET', state, 'open_ms', open_ms, 'open_until', string.format('%.3f', now + open_ms))
  end
end
return 1
