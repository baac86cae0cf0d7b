-- End a stream from outside its worker: fence whoever writes and append the end, in one step. The first end wins.
-- KEYS: record, log
-- ARGV: PUBLISH or SPUBLISH, the attempt to replace ('' for any), fresh token, the end entry's blob, status,
--       ended_ms, log_ttl_ms, record_ttl_ms, channel
-- Returns "done", "gone", "closed" or "stale".
-- include history
local state = redis.call('HMGET', KEYS[1], 'attempt', 'ended_ms', 'history', 'created_ms')
if not state[1] then return 'gone' end
if state[2] then return 'closed' end
if ARGV[2] ~= '' and state[1] ~= ARGV[2] then return 'stale' end
local attempt = next_attempt(tonumber(state[1]), state[3], state[4], now())
local id = string.format('%d-%d', attempt, redis.call('XLEN', KEYS[2]) + 1)
redis.call('XADD', KEYS[2], id, 'd', ARGV[4])
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[7]))
redis.call('HSET', KEYS[1], 'attempt', attempt, 'token', ARGV[3], 'status', ARGV[5], 'ended_ms', ARGV[6])
redis.call('HDEL', KEYS[1], 'request')
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[8]))
redis.call(ARGV[1], ARGV[9], id .. '\n' .. ARGV[4])
return 'done'
