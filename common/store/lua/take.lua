-- May an event's items be worked on by this process? One at a time may, and only as long as the event is the items' latest.
-- What is taken up is no longer on its way.
-- KEYS: state, leases, claim, sent   ARGV: token, hold in ms, lease that the event carries ('' : none), item, item, ...
-- Returns {status or '', 1 while the run is paused, 1 when the event is held by this token now, ms that its lease lasts (-1: none),
--          item that is ours, ...}
local run = redis.call('HMGET', KEYS[1], 'status', 'paused', 'taken_lease')
local status, paused = run[1] or '', run[2] and 1 or 0
if status ~= 'queued' and status ~= 'in_progress' then return {status, paused, 0, 0} end
if not redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then return {status, paused, 0, 0} end
local time = redis.call('TIME')
local left = ARGV[3] == '' and -1 or math.max(0, ARGV[3] - time[1] * 1000 - math.floor(time[2] / 1000))
local answer = {status, paused, 1, left}
for at = 4, #ARGV do
  if ARGV[3] == '' or redis.call('ZSCORE', KEYS[2], ARGV[at]) == ARGV[3] then answer[#answer + 1] = tonumber(ARGV[at]) end
end
if #answer > 4 then
  redis.call('ZREM', KEYS[4], unpack(answer, 5))
  if ARGV[3] ~= '' and tonumber(ARGV[3]) > tonumber(run[3] or 0) then redis.call('HSET', KEYS[1], 'taken_lease', ARGV[3]) end
end
return answer
