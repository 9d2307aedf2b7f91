-- Pause a run that has not ended, or let it go on: what was handed back meanwhile is due then.
-- KEYS: state, leases, waiting   ARGV: 1 to pause, 0 to go on   Returns its status, '' when there is no such run.
local status = redis.call('HGET', KEYS[1], 'status') or ''
if status ~= 'queued' and status ~= 'in_progress' then return status end
if ARGV[1] == '1' then
  redis.call('HSETNX', KEYS[1], 'paused', redis.call('TIME')[1])
else
  local was_paused = redis.call('HDEL', KEYS[1], 'paused')
  redis.call('HDEL', KEYS[1], 'advance_pending')
  local waiting = was_paused == 1 and redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES') or {}
  for at = 1, #waiting, 2 do
    if redis.call('ZSCORE', KEYS[2], waiting[at]) == waiting[at + 1] then redis.call('ZADD', KEYS[2], 0, waiting[at]) end
  end
end
return status
