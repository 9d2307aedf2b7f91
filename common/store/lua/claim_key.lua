-- Hold a caller's idempotency key while its request is worked on.
-- KEYS: record   ARGV: fingerprint, token, claim in ms, kept for s, tick, suffix
-- Returns {'conflict'}, {'busy', ms until it may be claimed}, {'done', status, body},
--         or {'claimed', tick, suffix, 1 when somebody held it before and never said how it ended}
local known = redis.call('HMGET', KEYS[1], 'fingerprint', 'status', 'body', 'held_until', 'tick', 'suffix')
if known[1] and known[1] ~= ARGV[1] then return {'conflict'} end
if known[2] then return {'done', known[2], known[3]} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held_until = tonumber(known[4] or 0)
if held_until > now then return {'busy', held_until - now} end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'token', ARGV[2], 'held_until', string.format('%.0f', now + ARGV[3]))
redis.call('HSETNX', KEYS[1], 'tick', ARGV[5])
redis.call('HSETNX', KEYS[1], 'suffix', ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'claimed', known[5] or ARGV[5], known[6] or ARGV[6], known[5] and 1 or 0}
