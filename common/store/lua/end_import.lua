-- Give an imported run the end that it had where it ran, if it is still there.
-- KEYS: state   ARGV: (field, value)...; an empty value takes the field away   Returns 1, or 0 when there is no such run.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for at = 1, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[at])
  else
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  end
end
return 1
