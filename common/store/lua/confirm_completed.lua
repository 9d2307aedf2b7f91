-- Note that the event about a run's end was accepted by the broker.
-- KEYS: state   ARGV: which end, '' : whichever   Returns 1 when the run is settled: gone, or ended with its event sent.
local run = redis.call('HMGET', KEYS[1], 'status', 'completed_event', 'generation')
if not run[1] then return 1 end
if not run[2] or (ARGV[1] ~= '' and ARGV[1] ~= (run[3] or '0')) then return 0 end
redis.call('HSET', KEYS[1], 'completed_event', 'sent')
return 1
