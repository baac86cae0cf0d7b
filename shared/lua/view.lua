-- Renew or end one relay's viewer lease of a stream, by the clock of Redis.
-- KEYS: viewers
-- ARGV: relay id, lease_ms (0: its last viewer has just left), ttl_ms
-- Returns nothing.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]))
