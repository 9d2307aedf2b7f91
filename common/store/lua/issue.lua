-- What may be evaluated now: items whose lease has expired first, then new ones, both while the window has room.
-- Every item named here has a fresh lease afterwards, also one that is given up: whoever asked may die before acting on it.
-- KEYS: state, leases, attempts, done   ARGV: lease in ms, attempts an item gets, window ('' : the run's own), deadline in s ('' : none),
--       trace of whoever asks: the first one is the run's
-- Returns {0 no such run or it has ended, 1 going on, 2 past its deadline, 3 being opened for a retry,
--          {item, attempt, item, attempt, ...}, {item given up, ...}, their lease, {what became of each given up one's attempts, ...},
--          the run's trace}
local run = redis.call('HMGET', KEYS[1], 'status', 'cursor', 'total', 'window', 'paused', 'retrying', 'generation', 'created_at', 'again_at')
if run[1] ~= 'queued' and run[1] ~= 'in_progress' then return {0, {}, {}, '', {}} end
local time = redis.call('TIME')
if ARGV[4] ~= '' and time[1] - (run[9] or run[8]) > tonumber(ARGV[4]) then return {2, {}, {}, '', {}} end
if run[6] then return {3, {}, {}, '', {}} end
if run[5] then return {1, {}, {}, '', {}} end
local cursor, total, window = tonumber(run[2]), tonumber(run[3]), tonumber(run[4])
if ARGV[3] ~= '' then window = math.min(window, ARGV[3]) end
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = string.format('%.0f', now)
local expiry = string.format('%.0f', now + ARGV[1])
local room = window - redis.call('ZCARD', KEYS[2]) + redis.call('ZCOUNT', KEYS[2], '-inf', due)
local issued, given_up, histories = {}, {}, {}
-- One entry for each attempt that counted: when it was found to have failed, and what was said of it.
local function history(item, attempt)
  local said = redis.call('HMGET', KEYS[3], item .. ':past', item .. ':code')
  local past = said[1] or ''
  local _, known = string.gsub(past, ';', '')
  if known < attempt - 1 and #past < 600 then
    past = past .. time[1] .. ' ' .. string.sub(string.gsub(said[2] or 'no_answer', '[^%w_.-]', '_'), 1, 40) .. ';'
    redis.call('HSET', KEYS[3], item .. ':past', past)
  end
  if said[2] then redis.call('HDEL', KEYS[3], item .. ':code') end
  return past
end
local expired = room > 0 and redis.call('ZRANGE', KEYS[2], '-inf', due, 'BYSCORE', 'LIMIT', 0, room) or {}
for _, item in ipairs(expired) do
  local attempt = redis.call('HINCRBY', KEYS[3], item, 1) + 1
  redis.call('ZADD', KEYS[2], expiry, item)
  local past = history(item, attempt)
  if attempt > tonumber(ARGV[2]) then
    given_up[#given_up + 1] = tonumber(item)
    histories[#histories + 1] = past
  else
    issued[#issued + 1] = tonumber(item)
    issued[#issued + 1] = attempt
  end
end
-- In a run that was opened again, the first item from `item` on that has no result.
local function unfinished(item)
  local found = redis.call('BITPOS', KEYS[4], 0, item, -1, 'BIT')
  return found >= 0 and found or math.max(item, 8 * redis.call('STRLEN', KEYS[4]))
end
for _ = #expired + 1, room do
  if run[7] and cursor < total and redis.call('EXISTS', KEYS[4]) == 1 then cursor = unfinished(cursor) end
  if cursor >= total then break end
  redis.call('ZADD', KEYS[2], expiry, cursor)
  issued[#issued + 1] = cursor
  issued[#issued + 1] = 1
  cursor = cursor + 1
end
redis.call('HSET', KEYS[1], 'status', 'in_progress', 'cursor', math.min(cursor, total), 'share', window)
redis.call('HSETNX', KEYS[1], 'started_at', time[1])
redis.call('HDEL', KEYS[1], 'advance_pending')
redis.call('HSETNX', KEYS[1], 'trace', ARGV[5])
return {1, issued, given_up, expiry, histories, redis.call('HGET', KEYS[1], 'trace')}
