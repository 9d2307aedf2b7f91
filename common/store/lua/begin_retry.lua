-- Open a run that has ended once more, to try again what has no score. Until unfold.lua has been through it nothing is issued.
-- KEYS: state   ARGV: which codes, as JSON   Returns the status before, '' when there is no such run.
local before = redis.call('HGET', KEYS[1], 'status') or ''
if before == '' or before == 'queued' or before == 'in_progress' then return before end
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HDEL', KEYS[1], 'ended_at', 'error_code', 'error_message', 'completed_event', 'stopped', 'advance_pending')
redis.call('HSET', KEYS[1], 'status', 'in_progress', 'retrying', ARGV[1], 'retry_from', 0, 'again_at', redis.call('TIME')[1])
return before
