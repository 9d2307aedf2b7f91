-- Give items back to their run: they are issued again after a while. Whoever has them no longer changes nothing.
-- KEYS: state, leases, attempts   ARGV: lease that the items were issued with ('' : whichever), then for each item:
--       item, ms until it is due, 1 when the attempt counts
-- Returns how many were given back.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local back = 0
for at = 2, #ARGV, 3 do
  local item = ARGV[at]
  local lease = redis.call('ZSCORE', KEYS[2], item)
  if lease and (ARGV[1] == '' or lease == ARGV[1]) then
    local due = ARGV[at + 1] == '0' and 0 or now + ARGV[at + 1]
    redis.call('ZADD', KEYS[2], string.format('%.0f', due), item)
    if ARGV[at + 2] ~= '1' then redis.call('HINCRBY', KEYS[3], item, -1) end
    back = back + 1
  end
end
return back
