-- End a run early. Results under way are still counted as facts when they arrive.
-- KEYS: state, leases, attempts, sent, told   ARGV: status, then what else is to be noted: (field, value)...
-- Returns the status before, '' when there is no such run.
local before = redis.call('HGET', KEYS[1], 'status') or ''
if before ~= 'queued' and before ~= 'in_progress' then return before end
redis.call('HSET', KEYS[1], 'status', ARGV[1], 'ended_at', redis.call('TIME')[1], 'completed_event', 'pending')
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('HDEL', KEYS[1], 'advance_pending', 'paused', 'retrying', 'retry_from')
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return before
