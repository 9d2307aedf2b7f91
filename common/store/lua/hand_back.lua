-- Give items back to their run: they are issued again after a while. Whoever has them no longer changes nothing.
-- KEYS: state, leases, attempts, waiting, pace, sent   ARGV: lease that the items were issued with ('' : whichever), then for each
--       item: item, ms until it is due, 1 when the attempt counts, code ('' : none), reason and model ("reason model")
-- Returns how many were given back.
local FIELDS, AGAIN_MS = 128, 5000 -- a reason that has been quiet for longer begins anew
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local back, latest, times = 0, {}, {}
for at = 2, #ARGV, 5 do
  local item = ARGV[at]
  local lease = redis.call('ZSCORE', KEYS[2], item)
  if lease and (ARGV[1] == '' or lease == ARGV[1]) then
    local due = ARGV[at + 1] == '0' and 0 or now + ARGV[at + 1]
    redis.call('ZADD', KEYS[2], string.format('%.0f', due), item)
    redis.call('ZREM', KEYS[6], item)
    if due > 0 then redis.call('ZADD', KEYS[4], string.format('%.0f', due), item) end
    if ARGV[at + 2] ~= '1' then
      redis.call('HINCRBY', KEYS[3], item, -1)
    elseif ARGV[at + 3] ~= '' then
      redis.call('HSET', KEYS[3], item .. ':code', ARGV[at + 3])
    end
    local why = ARGV[at + 4]
    latest[why] = math.max(latest[why] or now, due)
    times[why] = (times[why] or 0) + 1
    back = back + 1
  end
end
if back > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now) end
for why, until_ms in pairs(latest) do
  local field = 'back:' .. why
  local since, last, count = string.match(redis.call('HGET', KEYS[5], field) or '', '^(%d+) (%d+) (%d+)$')
  if since or redis.call('HLEN', KEYS[5]) < FIELDS then
    if not since or now - last > AGAIN_MS then since, last, count = now, until_ms, 0 end
    redis.call('HSET', KEYS[5], field, string.format('%.0f %.0f %.0f', since, math.max(last, until_ms), count + times[why]))
  end
end
return back
