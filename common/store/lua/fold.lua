-- Count results into a run, each item once, whoever brings it however often.
-- KEYS: state, leases, attempts, done, sums, pass, fail, error, then per grader: worst, scores, passed;
--       last: sent, told, pace
-- ARGV: worst kept, items, then per item:
--       index, outcome (1 pass, 2 fail, 3 error, 0 a canary), fields, (field, increment)...,
--       scores (float64, little-endian, one after the other; NaN: unscored), passed (a character per grader, '1': yes)
-- Returns {items that were new, 1 when this call completed the run, 1 when the caller is to ask for more, status, done}
local ASK_BELOW = 0.75 -- of the window: answers of slow judges come in heaps, and what is asked for late leaves a gap
local ASK_AGAIN_MS = 1000 -- whoever was asked may have died, or never heard of it
local STRETCH_S, STRETCHES = 10, 12
local run = redis.call(
  'HMGET', KEYS[1], 'status', 'cursor', 'total', 'window', 'advance_pending', 'retrying', 'share', 'overtaken_ms', 'taken_lease',
  'counted_told'
)
local status, cursor, total, window = run[1], tonumber(run[2]), tonumber(run[3]), tonumber(run[7] or run[4])
if not status then return {0, 0, 0, '', 0} end
local SENT, TOLD, PACE = KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]
local graders = (#KEYS - 11) / 3
local at, new, folded, added, ranked = 3, 0, {}, {}, {}
-- An overflow is flagged, so that it does not leave an item half counted.
local function add(field, amount)
  local sum = redis.pcall('HINCRBY', KEYS[5], field, amount)
  if type(sum) == 'table' then redis.call('HINCRBY', KEYS[5], 'overflow', 1) end
end
local function keep(grader, item, packed, passed)
  local worst, scores = KEYS[6 + 3 * grader], KEYS[7 + 3 * grader]
  local bytes = string.sub(packed, 8 * grader - 7, 8 * grader)
  redis.call('SETRANGE', scores, 8 * item, bytes)
  if string.sub(passed, grader, grader) == '1' then redis.call('SETBIT', KEYS[8 + 3 * grader], item, 1) end
  local score = struct.unpack('<d', bytes)
  if score == score then
    redis.call('ZADD', worst, score, item)
    ranked[worst] = true
  end
end
for _ = 1, tonumber(ARGV[2]) do
  local item, outcome, fields = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local scores_at = at + 3 + 2 * fields
  if tonumber(item) < total and redis.call('SETBIT', KEYS[4], item, 1) == 0 then
    new = new + 1
    if outcome > 0 then redis.call('SETBIT', KEYS[5 + outcome], item, 1) end
    redis.call('ZREM', KEYS[2], item)
    folded[new] = item
    redis.call('HDEL', KEYS[3], item, item .. ':past', item .. ':code', item .. ':overtaken')
    for pair = at + 3, scores_at - 1, 2 do
      -- Lua's numbers are exact up to 2^53: what could come near it, summed over a batch, goes to the server as it is.
      local field, amount = ARGV[pair], tonumber(ARGV[pair + 1])
      if math.abs(amount) < 1e12 then
        added[field] = (added[field] or 0) + amount
      else
        add(field, ARGV[pair + 1])
      end
    end
    for grader = 1, graders do keep(grader, item, ARGV[scores_at], ARGV[scores_at + 1]) end
  end
  at = scores_at + 2
end
-- Models name themselves: one that has a new name in every answer must not fill the memory.
local function room_for(field)
  return not string.find(field, '.reported.', 1, true)
    or redis.call('HEXISTS', KEYS[5], field) == 1 or redis.call('HLEN', KEYS[5]) < 5000
end
for field, amount in pairs(added) do
  if room_for(field) then add(field, string.format('%.0f', amount)) end
end
for worst in pairs(ranked) do redis.call('ZREMRANGEBYRANK', worst, ARGV[1], -1) end
-- How many came in each of the last two minutes' stretches: what a pace is made from.
if new > 0 then
  local seconds = redis.call('TIME')[1]
  local stretch = math.floor(seconds / STRETCH_S)
  local field = 'done:' .. stretch % STRETCHES
  local before, count = string.match(redis.call('HGET', PACE, field) or '', '^(%d+) (%d+)$')
  if tonumber(before) ~= stretch then count = 0 end
  redis.call('HSET', PACE, field, stretch .. ' ' .. string.format('%.0f', count + new), 'folded_at', seconds)
end
-- What has come through: events that were sent long before these are overtaken (issue.lua).
local counted_told = tonumber(run[10] or 0)
if new > 0 then
  for _, told in ipairs(redis.call('ZMSCORE', TOLD, unpack(folded))) do counted_told = math.max(counted_told, told or 0) end
  redis.call('ZREM', TOLD, unpack(folded))
  redis.call('ZREM', SENT, unpack(folded))
  redis.call('HSET', KEYS[1], 'counted_told', string.format('%.0f', counted_told))
end
local function is_overtaken(set, newest)
  return (run[8] or '') ~= '' and redis.call('ZCOUNT', set, '-inf', string.format('%.0f', newest - run[8])) > 0
end
local done = redis.call('HINCRBY', KEYS[1], 'done', new)
local completed, ask = 0, 0
if (status == 'queued' or status == 'in_progress') and not run[6] then
  if done == total then
    completed, status = 1, 'completed'
    redis.call('HSET', KEYS[1], 'status', status, 'ended_at', redis.call('TIME')[1], 'completed_event', 'pending')
    redis.call('HDEL', KEYS[1], 'paused')
  else
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local asked_just_now = run[5] and now - run[5] < ASK_AGAIN_MS
    local has_room = cursor < total and redis.call('ZCARD', KEYS[2]) <= ASK_BELOW * window
    local function is_due() return redis.call('ZCOUNT', KEYS[2], '-inf', now) > 0 end
    local function is_lost() return is_overtaken(SENT, tonumber(run[9] or 0)) or is_overtaken(TOLD, counted_told) end
    if not asked_just_now and (has_room or is_due() or is_lost()) then
      ask = 1
      redis.call('HSET', KEYS[1], 'advance_pending', string.format('%.0f', now))
    end
  end
end
return {new, completed, ask, status, done}
