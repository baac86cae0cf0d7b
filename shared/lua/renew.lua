-- Renew the leases of one worker, re-creating any that Redis has lost.
-- KEYS: leases
-- ARGV: lease_ms, ttl_ms, stream ids
-- Returns nothing.
local time = redis.call('TIME')
local deadline = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[1])
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], deadline, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]))
