-- Erase an ended stream's log and leave its record as a tombstone.
-- KEYS: record, log
-- ARGV: record_ttl_ms
-- Returns "erased", "running" or "gone".
local state = redis.call('HMGET', KEYS[1], 'attempt', 'ended_ms')
if not state[1] then return 'gone' end
if not state[2] then return 'running' end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'request', 'metadata')
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[1]))
return 'erased'
