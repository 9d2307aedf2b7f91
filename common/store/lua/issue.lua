-- What may be evaluated now: items whose lease has expired, and new ones, while the window has room; and those that were overtaken.
-- Every item named here has a fresh lease afterwards, also one that is given up: whoever asked may die before acting on it.
-- An item is overtaken when the event that it went out with, or the one that told of its verdicts, has not come through although
-- one that was sent long after it has. That is no attempt of the item's. Where nothing is sent any more that could overtake, the
-- item that went out last goes out again, alone: once it comes through, it has overtaken the others.
-- KEYS: state, leases, attempts, done, sent, told
-- ARGV: lease in ms, attempts an item gets, window ('' : the run's own), deadline in s ('' : none),
--       trace of whoever asks: the first one is the run's, ms after which an event can be overtaken ('' : never)
-- Returns {0 no such run or it has ended, 1 going on, 2 past its deadline, 3 being opened for a retry,
--          {item, attempt, item, attempt, ...}, {item given up, ...}, their lease, {what became of each given up one's attempts, ...},
--          the run's trace, {item that was overtaken, ...}}
local OVERTAKEN_AT_MOST = 3 -- times in an item's life, each after twice the time; then its lease decides
local SENT, TOLD, overtaken_ms = KEYS[5], KEYS[6], ARGV[6]
local run = redis.call(
  'HMGET', KEYS[1], 'status', 'cursor', 'total', 'window', 'paused', 'retrying', 'generation', 'created_at', 'again_at',
  'taken_lease', 'counted_told'
)
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
local issued, given_up, histories, overtaken = {}, {}, {}, {}
local function give(item, attempt)
  redis.call('ZADD', KEYS[2], expiry, item)
  redis.call('ZADD', SENT, expiry, item)
  issued[#issued + 1] = tonumber(item)
  issued[#issued + 1] = attempt
end
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
  local past = history(item, attempt)
  redis.call('ZREM', TOLD, item)
  if attempt > tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[2], expiry, item)
    redis.call('ZREM', SENT, item)
    given_up[#given_up + 1] = tonumber(item)
    histories[#histories + 1] = past
  else
    give(item, attempt)
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
  give(cursor, 1)
  cursor = cursor + 1
end
-- `behind`: for how many ms something else could have come through. An item whose lease has ended waits for room, as above.
local function give_again(set, item, behind)
  local times = tonumber(redis.call('HGET', KEYS[3], item .. ':overtaken') or 0)
  if times >= OVERTAKEN_AT_MOST or tonumber(redis.call('ZSCORE', KEYS[2], item) or 0) <= now then
    redis.call('ZREM', set, item)
  elseif behind >= overtaken_ms * 2 ^ times then
    redis.call('HINCRBY', KEYS[3], item .. ':overtaken', 1)
    redis.call('ZREM', TOLD, item)
    give(item, 1 + (redis.call('HGET', KEYS[3], item) or 0))
    overtaken[#overtaken + 1] = tonumber(item)
  end
end
local function give_overtaken(set, newest)
  local found = redis.call('ZRANGE', set, '-inf', string.format('%.0f', newest - overtaken_ms), 'BYSCORE', 'WITHSCORES')
  for at = 1, #found, 2 do give_again(set, found[at], newest - found[at + 1]) end
end
local function give_last(set, clock)
  local last = redis.call('ZRANGE', set, 0, 0, 'REV', 'WITHSCORES')
  if last[1] then give_again(set, last[1], clock - last[2]) end
end
if overtaken_ms ~= '' then
  give_overtaken(SENT, run[10] or 0)
  give_overtaken(TOLD, run[11] or 0)
  if #issued == 0 then give_last(SENT, expiry) end
  if redis.call('ZCARD', SENT) == 0 then give_last(TOLD, now) end
end
redis.call('HSET', KEYS[1], 'status', 'in_progress', 'cursor', math.min(cursor, total), 'share', window, 'overtaken_ms', overtaken_ms)
redis.call('HSETNX', KEYS[1], 'started_at', time[1])
redis.call('HDEL', KEYS[1], 'advance_pending')
redis.call('HSETNX', KEYS[1], 'trace', ARGV[5])
return {1, issued, given_up, expiry, histories, redis.call('HGET', KEYS[1], 'trace'), overtaken}
