-- How a run gets on, by the server's clock.
-- KEYS: state, leases, waiting, pace
-- Returns {now (ms), items outstanding, leases that have run out, items handed back and not due yet,
--          state's fields and values, pace's fields and values}
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return {
  tonumber(now),
  redis.call('ZCARD', KEYS[2]),
  redis.call('ZCOUNT', KEYS[2], '-inf', now),
  redis.call('ZCOUNT', KEYS[3], '(' .. now, '+inf'),
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[4]),
}
