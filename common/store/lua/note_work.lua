-- Tell what a process has of a run under way, and what it waits for. Told again every moment, else it is void soon.
-- KEYS: state, pace   ARGV: process, items, waits (JSON)
local KEPT_MS, PROCESSES = 5000, 64
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HLEN', KEYS[2]) > PROCESSES then
  local told = redis.call('HGETALL', KEYS[2])
  for at = 1, #told, 2 do
    if string.sub(told[at], 1, 5) == 'work:' and now - tonumber(string.match(told[at + 1], '^%d+')) > KEPT_MS then
      redis.call('HDEL', KEYS[2], told[at])
    end
  end
end
redis.call('HSET', KEYS[2], 'work:' .. ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
return 1
