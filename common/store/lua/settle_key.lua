-- Say how the request under an idempotency key ended, if it is still held by this token.
-- KEYS: record   ARGV: token, status ('' when it failed: the key is free again), body, 1 when nothing of the request remains
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
if ARGV[4] == '1' then return redis.call('DEL', KEYS[1]) end
redis.call('HDEL', KEYS[1], 'held_until')
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'status', ARGV[2], 'body', ARGV[3]) end
return 1
