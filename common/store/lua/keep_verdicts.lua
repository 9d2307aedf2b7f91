-- Keep verdicts of an evaluation; what is there already stays. Lets go of the id when there are enough.
-- KEYS: evaluation, claim   ARGV: token, kept for s, verdicts wanted, then field, value, ...
-- Returns {1 if the id was let go, else 0}
for i = 4, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
if redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[3]) then return {0} end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return {1}
