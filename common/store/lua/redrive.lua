-- Give items of dead letters another chance, with all their attempts, and note that in the letters.
-- KEYS: state, dead, leases, attempts   ARGV: letters, (JSON as it was, JSON as it is to be)..., item, item, ...
-- Returns the items that are due now because of this, or -1 when there is no such run.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local letters = tonumber(ARGV[1])
for at = 2, 2 * letters, 2 do
  local place = redis.call('LPOS', KEYS[2], ARGV[at])
  if place then redis.call('LSET', KEYS[2], place, ARGV[at + 1]) end
end
local due = {}
for at = 2 * letters + 2, #ARGV do
  local item = ARGV[at]
  if redis.call('ZSCORE', KEYS[3], item) then
    redis.call('ZADD', KEYS[3], 0, item)
    redis.call('HSET', KEYS[4], item, -1)
    redis.call('HDEL', KEYS[4], item .. ':past', item .. ':code', item .. ':overtaken')
    due[#due + 1] = tonumber(item)
  end
end
return due
