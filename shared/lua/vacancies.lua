-- Note how many more streams a worker can take.
-- KEYS: vacancies
-- ARGV: worker id, how many, ttl_ms
-- Returns nothing.
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]))
end
