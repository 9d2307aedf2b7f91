#!lua
-- What became of an admitted call: gives back its permit, corrects the buckets, charges budgets, feeds the breaker, counts.
--
-- The first line makes a server that is full or read-only refuse it as a whole, instead of in the middle, half done.
--
-- KEYS  1 state (hash)  2 permits (sorted set)  3 counters (hash)  4 window (hash: slot -> "second calls failures")
--       5, 6 a budget (hash) and its reservations (sorted set), 7, 8 the next budget's, ...
-- ARGV  1 call id  2 outcome: success | failure | limited | rejected | cancelled | unsent  3 ms taken for the request
--       4 ms taken for each token  5 tokens taken  6 true tokens (-1: unknown)  7 concurrency
--       8 provider's wait (ms, 0: none)  9 window (s)  10 fewest calls  11 failure rate  12 state's lifetime (ms)
--       13 counters' lifetime (ms)  14 1 when no limit is configured, so that the pace is learned
--       15, 16 ms for each request that the provider's headers allow (0: they say nothing, -1: plenty) and for how long (ms)
--       17, 18 the same for each token  19 micro-dollars reserved  20 micro-dollars spent (-1: nobody will ever know)
--       21 tokens estimated  22 1 when the call was urgent  23 number of budgets, then for each: hard limit (-1: none),
--       soft limit (-1: none), lifetime (ms, 0: for ever); then counter name, increment, ...
-- Returns {breaker state before, breaker state after}, and for each budget {micro-dollars spent, 1 if its soft limit was
-- reached just now, micro-dollars reserved}.
--
-- "limited" is a refusal that slows everybody down and says nothing about the provider's health. "rejected" is an answer
-- that blames the request: the provider is well. "cancelled" says nothing about it. "unsent" gives the reservation back.

local call, outcome = ARGV[1], ARGV[2]
local request_ms, token_ms, taken, truth = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local concurrency, wait_ms = tonumber(ARGV[7]), tonumber(ARGV[8])
local window_s, fewest, rate = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local keep_ms, keep_counters_ms = ARGV[12], ARGV[13]
local learns = ARGV[14] == "1"
local hint_request_ms, hint_requests_for = tonumber(ARGV[15]), tonumber(ARGV[16])
local hint_token_ms, hint_tokens_for = tonumber(ARGV[17]), tonumber(ARGV[18])
local amount, cost, estimate = tonumber(ARGV[19]), tonumber(ARGV[20]), tonumber(ARGV[21])
local urgent, budgets = ARGV[22] == "1", tonumber(ARGV[23])
local FIRST_BUDGET, FIRST_LIMIT = 5, 24
local SHARE_WEIGHT, SHARE_LEAST, SHARE_MOST, SLACK_MS = 0.05, 0.02, 4, 250
local CUT, SLOWEST_RPM, FIRST_GUESS_RPM = 0.7, 1, 600
local GROWTH_MS, FORGET_MS = 60000, 600000 -- as in admission.lua
-- A count of outcomes is judged when there are enough of them, or a few in a longer time.
local ENOUGH, FEW, LONG_MS, HOLD_MS = 50, 10, 15000, 60000
local MANY_REFUSED, HARDLY_ANSWERED, DEEPEST, DRAIN = 0.1, 0.25, 0.5, 0.95

local time = redis.call("TIME")
local second = tonumber(time[1])
local now = second * 1000 + time[2] / 1000

local state = redis.call(
  "HMGET", KEYS[1], "breaker", "probe", "blocked_until", "paid_requests", "paid_tokens", "learned_at", "slow_requests_until",
  "slow_tokens_until", "token_share", "last_go", "token_slack_ms", "urgent_requests", "urgent_tokens", "urgent_last_go", "learned_rpm"
)
local function number(i) return tonumber(state[i] or 0) end
local before = state[1] or "closed"
local after = before
local fields = {}
local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
local function moment(value) return string.format("%.3f", value) end
local failed = outcome == "failure"
local answered = failed or outcome == "success" or outcome == "rejected"

if concurrency > 0 then redis.call("ZREM", KEYS[2], call) end

-- Each second has a slot of its own; a slot left over from an earlier round of the window is overwritten.
local function count_in_window(failed)
  local slot = second % window_s
  local at, calls, failures = string.match(redis.call("HGET", KEYS[4], slot) or "", "^(%d+) (%d+) (%d+)$")
  if tonumber(at) ~= second then calls, failures = 0, 0 end
  redis.call("HSET", KEYS[4], slot, string.format("%d %d %d", second, calls + 1, failures + (failed and 1 or 0)))
  redis.call("EXPIRE", KEYS[4], window_s)
end
local function window()
  local calls, failures, earliest = 0, 0, second
  for _, slot in ipairs(redis.call("HVALS", KEYS[4])) do
    local at, n, f = string.match(slot, "^(%d+) (%d+) (%d+)$")
    at = tonumber(at)
    if at > second - window_s then
      calls, failures, earliest = calls + n, failures + f, math.min(earliest, at)
    end
  end
  return calls, failures, second - earliest + 1
end

-- The learned pace: additive increase (in admission.lua, by the clock), multiplicative decrease at the first refusal after a
-- calm time. Where many are refused all the same it is cut again, on trial: if the refusals come from the pace, as much is
-- answered as before, so a larger share. If the share is the same, they do not: the cut is taken back, and none follows for
-- a while. Only calls that went at the present pace, or slower, count.
local function go_on_at(rpm, trial_rpm, trial_answered)
  set("learned_rpm", moment(math.max(SLOWEST_RPM, rpm)))
  set("learned_at", moment(now))
  set("trial_rpm", moment(trial_rpm or 0))
  set("trial_answered", moment(trial_answered or 0))
  set("counted_from", moment(now))
  set("counted", "0")
  set("counted_refused", "0")
  set("calm", "0")
end
local function begin_to_learn()
  local calls, failures, seconds = window()
  local went = calls > failures and (calls - failures) * 60 / seconds or FIRST_GUESS_RPM
  if request_ms > 0 then went = 60000 / request_ms end
  set("hold_until", "0")
  go_on_at(went * CUT)
end
local function learn(pace, refused)
  local kept = redis.call(
    "HMGET", KEYS[1], "counted", "counted_refused", "counted_from", "calm", "hold_until", "trial_rpm", "trial_answered"
  )
  local function known(i) return tonumber(kept[i] or 0) end
  local count, refusals, took_ms = known(1) + 1, known(2) + (refused and 1 or 0), now - known(3)
  local share, may_cut = 1 - refusals / count, now >= known(5)
  if refused and known(4) == 1 and may_cut then return go_on_at(pace * CUT) end
  if count < ENOUGH and (count < FEW or took_ms < LONG_MS or share <= HARDLY_ANSWERED) then
    set("counted", count)
    set("counted_refused", refusals)
    return
  end
  local trial_rpm, before = known(6), known(7)
  if trial_rpm > 0 and share > HARDLY_ANSWERED and share < math.min((1 + before) / 2, 1.5 * before) then
    set("hold_until", moment(now + HOLD_MS))
    return go_on_at(trial_rpm)
  end
  if 1 - share > MANY_REFUSED and may_cut then
    local went = math.min(pace, count * 60000 / took_ms)
    return go_on_at(went * math.max(DEEPEST, DRAIN * share), went, share)
  end
  set("counted", "0")
  set("counted_refused", "0")
  set("counted_from", moment(now))
  set("calm", refusals == 0 and "1" or "0")
  set("trial_rpm", "0")
end
local refused = outcome == "limited" and learns
if refused or (answered and learns and state[15]) then
  local age_ms = now - number(6)
  local pace = age_ms < FORGET_MS and number(15) * (1 + age_ms / GROWTH_MS) or 0
  if pace == 0 then
    if refused then begin_to_learn() end
  elseif request_ms * pace * 1.001 >= 60000 then
    learn(pace, refused)
  end
end

local paid_requests, paid_tokens = number(4), number(5)
local urgent_requests, urgent_tokens = number(12), number(13)
local last_go = urgent and number(14) or number(10)
local slowed = request_ms > 0 or refused
if outcome == "unsent" then
  truth = 0
  paid_requests = paid_requests - request_ms
  if urgent then urgent_requests = urgent_requests - request_ms end
end
if token_ms > 0 and truth >= 0 then
  local debt = (truth - taken) * token_ms
  if outcome ~= "unsent" and last_go > now then
    -- The times of those who wait are given out: time that was left over before them is gone, but for a little that
    -- makes up for calls that take more than they were thought to.
    local slack = number(11)
    set("token_slack_ms", moment(math.min(SLACK_MS, math.max(0, slack - debt))))
    debt = math.max(0, debt - slack)
  elseif debt > 0 then
    -- A debt is owed from now on; a bucket that has been full for a while does not swallow it.
    paid_tokens, urgent_tokens = math.max(paid_tokens, now), math.max(urgent_tokens, now)
  end
  paid_tokens = paid_tokens + debt
  if urgent then urgent_tokens = urgent_tokens + debt end
end
-- Nobody uses all the tokens they may: a queue that waited for those would leave the limit unused.
if token_ms > 0 and outcome == "success" and truth > 0 and estimate > 0 then
  local ratio = math.min(truth / estimate, SHARE_MOST)
  local share = tonumber(state[9] or ratio)
  share = share + SHARE_WEIGHT * (ratio - share)
  set("token_share", string.format("%.4f", math.max(SHARE_LEAST, share)))
end
if wait_ms > 0 then
  local blocked_until = now + wait_ms
  if blocked_until > number(3) then set("blocked_until", moment(blocked_until)) end
  -- What was saved up while the provider refused must not come out in one burst.
  if slowed then
    paid_requests, urgent_requests = math.max(paid_requests, blocked_until), math.max(urgent_requests, blocked_until)
  end
  if token_ms > 0 then
    paid_tokens, urgent_tokens = math.max(paid_tokens, blocked_until), math.max(urgent_tokens, blocked_until)
  end
end
local function follow_hint(what, each_ms, lasts_ms, until_now, paid)
  if each_ms > 0 then
    set("slow_" .. what .. "_ms", string.format("%.9f", each_ms))
    set("slow_" .. what .. "s_until", moment(now + lasts_ms))
    return math.max(paid, now + each_ms)
  end
  if each_ms < 0 and until_now > now then set("slow_" .. what .. "s_until", "0") end
  return paid
end
paid_requests = follow_hint("request", hint_request_ms, hint_requests_for, number(7), paid_requests)
paid_tokens = follow_hint("token", hint_token_ms, hint_tokens_for, number(8), paid_tokens)
if hint_request_ms > 0 then urgent_requests = math.max(urgent_requests, now + hint_request_ms) end
if hint_token_ms > 0 then urgent_tokens = math.max(urgent_tokens, now + hint_token_ms) end
if paid_requests ~= number(4) then set("paid_requests", moment(paid_requests)) end
if paid_tokens ~= number(5) then set("paid_tokens", moment(paid_tokens)) end
if urgent_requests ~= number(12) then set("urgent_requests", moment(urgent_requests)) end
if urgent_tokens ~= number(13) then set("urgent_tokens", moment(urgent_tokens)) end

if before == "half-open" and state[2] == call then
  set("probe", "")
  set("probe_until", "0")
  if answered or outcome == "limited" then after = failed and "open" or "closed" end
elseif before == "closed" and answered then
  count_in_window(failed)
  if failed then
    local calls, failures = window()
    if calls >= fewest and failures / calls >= rate then after = "open" end
  end
end
if after ~= before then
  set("breaker", after)
  redis.call("DEL", KEYS[4])
  if after == "open" then
    set("opened_at", moment(now))
    redis.call("HINCRBY", KEYS[3], "opened", 1)
  end
end
if #fields > 0 then
  redis.call("HSET", KEYS[1], unpack(fields))
  redis.call("PEXPIRE", KEYS[1], keep_ms)
end

local function charge(budget, reservations)
  if amount > 0 then
    if redis.call("ZREM", reservations, string.format("%s:%d", call, amount)) == 1 then
      redis.call("HINCRBY", budget, "reserved", -amount)
    else -- it was overdue and taken as spent
      redis.call("HINCRBY", budget, "spent", -amount)
      redis.call("HINCRBY", budget, "assumed", -amount)
    end
  end
  if cost < 0 then
    redis.call("HINCRBY", budget, "unpriced", 1)
    redis.call("HINCRBY", budget, "assumed", amount)
  end
  return redis.call("HINCRBY", budget, "spent", cost < 0 and amount or cost)
end
local answer = {before, after}
for i = 0, budgets - 1 do
  local budget, reservations = KEYS[FIRST_BUDGET + 2 * i], KEYS[FIRST_BUDGET + 2 * i + 1]
  local limit, soft, lifetime_ms = ARGV[FIRST_LIMIT + 3 * i], ARGV[FIRST_LIMIT + 3 * i + 1], ARGV[FIRST_LIMIT + 3 * i + 2]
  local spent, reached = charge(budget, reservations), 0
  redis.call("HSET", budget, "limit", limit, "soft", soft)
  if tonumber(soft) >= 0 and spent >= tonumber(soft) and redis.call("HGET", budget, "told") ~= soft then
    redis.call("HSET", budget, "told", soft)
    reached = 1
  end
  if tonumber(lifetime_ms) > 0 then redis.call("PEXPIRE", budget, lifetime_ms) end
  answer[3 + i] = {spent, reached, tonumber(redis.call("HGET", budget, "reserved") or 0)}
end

for i = FIRST_LIMIT + 3 * budgets, #ARGV, 2 do redis.call("HINCRBY", KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call("PEXPIRE", KEYS[3], keep_counters_ms)
return answer
