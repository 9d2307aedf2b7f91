-- Record a dead letter of a run that is there, newest first, and let the leases of its items expire now.
-- KEYS: state, dead, leases, attempts   ARGV: letters kept, JSON, lease that the event carries ('' : none), code, item, item, ...
-- Returns 1, or 0 when there is no such run.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], 0, ARGV[1] - 1)
for at = 5, #ARGV do
  local lease = redis.call('ZSCORE', KEYS[3], ARGV[at])
  if lease and (ARGV[3] == '' or ARGV[3] == lease) then
    redis.call('ZADD', KEYS[3], 0, ARGV[at])
    redis.call('HSET', KEYS[4], ARGV[at] .. ':code', ARGV[4])
  end
end
return 1
