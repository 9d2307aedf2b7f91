#!lua
-- May this call go to the model now? Breaker, pause, requests/min, tokens/min, budgets and concurrency, all or nothing.
--
-- The first line makes a server that is full or read-only refuse it, also where it would write nothing: what a call cost could
-- not be counted. Source: https://valkey.io/topics/lua-api/, section "Script flags".
--
-- KEYS  1 state (hash)  2 permits (sorted set: call -> expiry)  3 counters (hash)  4 queue (sorted set: call -> arrival)
--       5 waiting (sorted set: call -> when it is taken for dead)  6, 7 a budget (hash) and its reservations (sorted set:
--       "call:amount" -> expiry), 8, 9 the next budget's, ...
-- ARGV  1 call id  2 longest wait (ms)  3 rpm (0: none)  4 tpm (0: none)  5 estimated tokens  6 concurrency (0: none)
--       7 permit lifetime after the wait (ms)  8 breaker's reset time (ms)  9 burst (ms)  10 state's lifetime (ms)
--       11 1 when the call holds a reservation from an earlier answer of this script, else 0
--       12 micro-dollars to reserve, or those reserved already  13 the fewest that make sense
--       14 1 when the call is urgent: somebody waits for its answer  15 what the reservation was told of urgent calls' ms
--       16, 17 a budget's hard limit (-1: none) and lifetime (ms, 0: for ever), 18, 19 the next one's, ...
-- Returns {"go", wait ms, breaker state, "", ms for each request, ms for each token, tokens taken, micro-dollars reserved,
--         ms that urgent calls have ever taken}: the call is reserved and may be sent after the wait;
--         {"later", wait ms, breaker state, reason}: nothing is reserved, ask again then;
--         {"no", wait ms, breaker state, reason, number of the budget}: cannot be had within the longest wait; ms until it
--         might.
--
-- The buckets are kept as the time at which all tokens taken so far are paid for (generic cell rate algorithm): a call may
-- go once the debts before it are paid, to within a burst, so that calls wait in their order of arrival and a call larger
-- than the bucket still gets through. Of the estimated tokens as many are taken as calls lately used of theirs. The pace is
-- the slowest of what is configured, what the provider's headers say and, when nothing is configured, what its refusals taught.
--
-- Places of bulk calls are given out for the next moments only; who finds none asks again. So those who wait have nothing
-- before those who come, and get calls in proportion to their number: projects, which have windows of one size, the same.
--
-- Urgent calls wait for each other only. What one takes, all others wait longer: those who ask later by the debts, those who
-- have a place already by the sum of what urgent calls took, which they compare when they ask again. Whoever's turn was near
-- goes all the same, so that a sudden flood of urgent calls may take a second's worth more than the pace.

local call, longest_wait = ARGV[1], tonumber(ARGV[2])
local rpm, tpm, tokens, concurrency = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local permit_ms, reset_ms, burst_ms, keep_ms = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local reserved = ARGV[11] == "1"
local amount, least = tonumber(ARGV[12]), tonumber(ARGV[13])
local urgent, pushed_before = ARGV[14] == "1", tonumber(ARGV[15])
local FIRST_BUDGET, FIRST_LIMIT = 6, 16
-- Before every score of a queue, which are unix times.
local URGENT_FIRST = -1e13
-- What was learned grows by itself for a minute per its own size, and is forgotten after ten without a refusal.
local GROWTH_MS, FORGET_MS = 60000, 600000
-- Before anything is known: answers are seldom half as long as they may be.
local FIRST_SHARE = 0.5
-- How far ahead bulk calls have places, and when those without ask again: earlier, or there would be times without calls.
local AHEAD_MS, AGAIN_MS = 2000, 1000
local BUDGET_MS, QUEUE_MS, QUEUE_MAX_MS, SILENCE_MS = 25, 20, 500, 1000

local time = redis.call("TIME")
local now = time[1] * 1000 + time[2] / 1000
local function moment(value) return string.format("%.3f", value) end

local state = redis.call(
  "HMGET", KEYS[1], "breaker", "opened_at", "probe", "probe_until", "blocked_until", "paid_requests", "paid_tokens",
  "slow_request_ms", "slow_requests_until", "slow_token_ms", "slow_tokens_until", "learned_rpm", "learned_at",
  "token_share", "last_go", "urgent_requests", "urgent_tokens", "urgent_last_go", "pushed_ms"
)
local function number(i) return tonumber(state[i] or 0) end
local stored = state[1] or "closed"
local breaker, probe_until = stored, number(4)
local paid_requests, paid_tokens = math.max(now, number(6)), math.max(now, number(7))
local urgent_requests, urgent_tokens, pushed_ms = math.max(now, number(16)), math.max(now, number(17)), number(19)
local last_go = urgent and number(18) or number(15)

local function leave_queue()
  if concurrency > 0 then
    redis.call("ZREM", KEYS[4], call)
    redis.call("ZREM", KEYS[5], call)
  end
end
local function refuse(reason, wait, detail)
  leave_queue()
  redis.call("HINCRBY", KEYS[3], "refused:" .. reason, 1)
  return {"no", math.ceil(wait), stored, reason, detail or 0}
end

local is_probe = false
if breaker == "open" then
  local reset_at = number(2) + reset_ms
  if now < reset_at then return refuse("open", reset_at - now) end
  breaker, probe_until = "half-open", 0
end
if breaker == "half-open" then
  is_probe = state[3] == call or probe_until <= now
  if not is_probe then return refuse("open", probe_until - now) end
end

local request_ms = rpm > 0 and 60000 / rpm or 0
local token_ms = tpm > 0 and 60000 / tpm or 0
if number(9) > now then request_ms = math.max(request_ms, number(8)) end
if number(11) > now then token_ms = math.max(token_ms, number(10)) end
if rpm == 0 and tpm == 0 and state[12] and now - number(13) < FORGET_MS then
  request_ms = math.max(request_ms, 60000 / (number(12) * (1 + (now - number(13)) / GROWTH_MS)))
end

tokens = math.ceil(tokens * tonumber(state[14] or FIRST_SHARE))
local go_at, reason = math.max(now, number(5)), "blocked"
local function not_before(at, because)
  if at > go_at then go_at, reason = at, because end
end
if not reserved then
  not_before((urgent and urgent_requests or paid_requests) - burst_ms, "rpm")
  not_before((urgent and urgent_tokens or paid_tokens) - burst_ms, "tpm")
  -- What is given back makes room behind those who wait, never before them: nobody is overtaken, and no time is used twice.
  if request_ms + token_ms > 0 then go_at = math.max(go_at, last_go) end
elseif not urgent then
  not_before(now + pushed_ms - pushed_before, "rpm")
end
local wait = go_at - now
if wait > longest_wait then return refuse(reason, wait) end
if wait > AHEAD_MS and not urgent and not reserved then
  leave_queue()
  return {"later", math.ceil(math.max(AGAIN_MS, number(5) - now)), stored, "rate_limit"}
end

-- A reservation that nobody settled in time is taken as spent: the call may have been made.
local function take_overdue(budget, reservations)
  for _, overdue in ipairs(redis.call("ZRANGEBYSCORE", reservations, "-inf", now)) do
    local lost = tonumber(string.match(overdue, ":(%d+)$"))
    redis.call("ZREM", reservations, overdue)
    redis.call("HINCRBY", budget, "reserved", -lost)
    redis.call("HINCRBY", budget, "spent", lost)
    redis.call("HINCRBY", budget, "assumed", lost)
  end
end

local grant, must_wait = amount, false
if not reserved then
  for i = FIRST_BUDGET, #KEYS, 2 do
    take_overdue(KEYS[i], KEYS[i + 1])
    local limit = tonumber(ARGV[FIRST_LIMIT + i - FIRST_BUDGET])
    if limit >= 0 and amount > 0 then
      local sums = redis.call("HMGET", KEYS[i], "spent", "reserved")
      local unspent, held = limit - tonumber(sums[1] or 0), tonumber(sums[2] or 0)
      if least > unspent then return refuse("budget", 0, (i - FIRST_BUDGET) / 2) end
      if amount > unspent - held then
        if held > 0 then must_wait = true else grant = math.min(grant, unspent) end
      end
    end
  end
end
if must_wait then
  leave_queue()
  return {"later", BUDGET_MS, stored, "budget"}
end

if concurrency > 0 then
  redis.call("ZREMRANGEBYSCORE", KEYS[2], "-inf", now)
  if not redis.call("ZSCORE", KEYS[2], call) then
    for _, dead in ipairs(redis.call("ZRANGEBYSCORE", KEYS[5], "-inf", now)) do
      redis.call("ZREM", KEYS[4], dead)
      redis.call("ZREM", KEYS[5], dead)
    end
    local before_me = redis.call("ZRANK", KEYS[4], call)
      or urgent and redis.call("ZCOUNT", KEYS[4], "-inf", 0)
      or redis.call("ZCARD", KEYS[4])
    if before_me >= concurrency - redis.call("ZCARD", KEYS[2]) then
      local ask_ms = math.min(QUEUE_MAX_MS, QUEUE_MS * (1 + math.floor(before_me / concurrency)))
      ask_ms = math.max(math.ceil(wait), ask_ms)
      redis.call("ZADD", KEYS[4], "NX", moment(urgent and now + URGENT_FIRST or now), call)
      redis.call("ZADD", KEYS[5], moment(now + 2 * ask_ms + SILENCE_MS), call)
      redis.call("PEXPIRE", KEYS[4], keep_ms)
      redis.call("PEXPIRE", KEYS[5], keep_ms)
      return {"later", ask_ms, stored, "concurrency"}
    end
    leave_queue()
  end
  redis.call("ZADD", KEYS[2], moment(go_at + permit_ms), call)
  redis.call("PEXPIRE", KEYS[2], keep_ms)
end

for i = FIRST_BUDGET, #KEYS, 2 do
  local limit, lifetime_ms = ARGV[FIRST_LIMIT + i - FIRST_BUDGET], tonumber(ARGV[FIRST_LIMIT + i - FIRST_BUDGET + 1])
  local member = string.format("%s:%d", call, grant)
  if grant > 0 then
    if not reserved then
      redis.call("HINCRBY", KEYS[i], "reserved", grant)
    elseif not redis.call("ZSCORE", KEYS[i + 1], member) then
      -- Taken as spent while the call waited for its turn, and still wanted.
      redis.call("HINCRBY", KEYS[i], "reserved", grant)
      redis.call("HINCRBY", KEYS[i], "spent", -grant)
      redis.call("HINCRBY", KEYS[i], "assumed", -grant)
    end
    redis.call("ZADD", KEYS[i + 1], moment(go_at + permit_ms), member)
  end
  redis.call("HSET", KEYS[i], "limit", limit)
  if lifetime_ms > 0 then
    redis.call("PEXPIRE", KEYS[i], lifetime_ms)
    redis.call("PEXPIRE", KEYS[i + 1], lifetime_ms)
  end
end

local fields = {}
local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
local tokens_ms = tokens * token_ms
if not reserved then
  if request_ms > 0 then set("paid_requests", moment(math.max(paid_requests, go_at) + request_ms)) end
  if token_ms > 0 then set("paid_tokens", moment(math.max(paid_tokens, go_at) + tokens_ms)) end
  if urgent and request_ms + token_ms > 0 then
    local push = math.max(request_ms, tokens_ms)
    set("urgent_requests", moment(math.max(urgent_requests, go_at) + request_ms))
    set("urgent_tokens", moment(math.max(urgent_tokens, go_at) + tokens_ms))
    set("urgent_last_go", moment(go_at))
    set("pushed_ms", moment(pushed_ms + push))
    if number(15) > now then set("last_go", moment(number(15) + push)) end
  elseif request_ms + token_ms > 0 then
    set("last_go", moment(go_at))
  end
end
if is_probe then
  set("breaker", breaker); set("probe", call); set("probe_until", moment(go_at + permit_ms))
end
if #fields > 0 then
  redis.call("HSET", KEYS[1], unpack(fields))
  redis.call("PEXPIRE", KEYS[1], keep_ms)
end
return {"go", math.ceil(wait), breaker, "", string.format("%.6f", request_ms), string.format("%.9f", token_ms), tokens, grant, moment(pushed_ms)}
