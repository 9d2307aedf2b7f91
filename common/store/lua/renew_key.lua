-- Hold an idempotency key for longer, if its request is still worked on by this token.
-- KEYS: record   ARGV: token, claim in ms
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] or redis.call('HEXISTS', KEYS[1], 'held_until') == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'held_until', string.format('%.0f', now + ARGV[2]))
return 1
