-- Pause a run that has not ended, or let it go on.
-- KEYS: state   ARGV: 1 to pause, 0 to go on   Returns its status, '' when there is no such run.
local status = redis.call('HGET', KEYS[1], 'status') or ''
if status ~= 'queued' and status ~= 'in_progress' then return status end
if ARGV[1] == '1' then
  redis.call('HSETNX', KEYS[1], 'paused', redis.call('TIME')[1])
else
  redis.call('HDEL', KEYS[1], 'paused', 'advance_pending')
end
return status
