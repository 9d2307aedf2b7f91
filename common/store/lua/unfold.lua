-- Take items out of a run's sums again, and what they are to be asked anew out of its results. One walk, a stretch at a time.
-- Whoever comes with a stretch that somebody else has been over changes nothing.
-- KEYS: state, attempts, done, sums, error, then per grader: worst, scores, passed; then hashes of results
-- ARGV: graders, where the stretch begins, where it ends ('' : with the run), items, then per item:
--       index, fields, (field, negative increment)..., results to delete, (number of the key, field)...
-- Returns {1, or 0 when the stretch is not the next; 1 when this has ended the run}
local run = redis.call('HMGET', KEYS[1], 'retrying', 'retry_from', 'done', 'total')
if not run[1] or run[2] ~= ARGV[2] then return {0, 0} end
local graders, at, back, taken = tonumber(ARGV[1]), 5, 0, {}
local function take(field, amount)
  -- Names that models gave themselves are not all counted.
  if redis.call('HEXISTS', KEYS[4], field) == 0 then return end
  local sum = redis.pcall('HINCRBY', KEYS[4], field, amount)
  if type(sum) == 'table' then redis.call('HINCRBY', KEYS[4], 'overflow', 1) end
  if sum == 0 then redis.call('HDEL', KEYS[4], field) end
end
for _ = 1, tonumber(ARGV[4]) do
  local item, fields = ARGV[at], tonumber(ARGV[at + 1])
  local results_at = at + 2 + 2 * fields
  local results = tonumber(ARGV[results_at])
  if redis.call('SETBIT', KEYS[3], item, 0) == 1 then
    back = back + 1
    redis.call('SETBIT', KEYS[5], item, 0)
    redis.call('HDEL', KEYS[2], item, item .. ':past', item .. ':code', item .. ':overtaken')
    for pair = at + 2, results_at - 1, 2 do
      -- As in fold.lua: Lua's numbers are exact up to 2^53.
      local field, amount = ARGV[pair], tonumber(ARGV[pair + 1])
      if math.abs(amount) < 1e12 then
        taken[field] = (taken[field] or 0) + amount
      else
        take(field, ARGV[pair + 1])
      end
    end
    for grader = 1, graders do
      redis.call('ZREM', KEYS[3 + 3 * grader], item)
      redis.call('SETRANGE', KEYS[4 + 3 * grader], 8 * item, string.rep('\0', 8))
      redis.call('SETBIT', KEYS[5 + 3 * grader], item, 0)
    end
    for pair = results_at + 1, results_at + 2 * results, 2 do redis.call('HDEL', KEYS[tonumber(ARGV[pair])], ARGV[pair + 1]) end
  end
  at = results_at + 1 + 2 * results
end
for field, amount in pairs(taken) do take(field, string.format('%.0f', amount)) end
local done = redis.call('HINCRBY', KEYS[1], 'done', -back)
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'retry_from', ARGV[3])
  return {1, 0}
end
redis.call('HDEL', KEYS[1], 'retrying', 'retry_from')
redis.call('HSET', KEYS[1], 'cursor', 0)
if done < tonumber(run[4]) then return {1, 0} end
redis.call('HSET', KEYS[1], 'status', 'completed', 'ended_at', redis.call('TIME')[1], 'completed_event', 'pending')
return {1, 1}
