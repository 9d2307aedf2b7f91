-- Let go of an event, if it is still held by this token. The items that are judged are told of from now on.
-- KEYS: claim, leases, told   ARGV: token, lease that the event carries ('' : none), item that is judged, ...
-- Returns how many are told of: those that are no later event's.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local judged = {}
for at = 3, #ARGV do
  local lease = redis.call('ZSCORE', KEYS[2], ARGV[at])
  if lease and (ARGV[2] == '' or lease == ARGV[2]) then
    judged[#judged + 1] = now
    judged[#judged + 1] = ARGV[at]
  end
end
if #judged > 0 then redis.call('ZADD', KEYS[3], unpack(judged)) end
return #judged / 2
