-- Take an ended stream out of the book; its idempotency key now lives as long as its log. Idempotent.
-- KEYS: leases, applicants, the tenant's active streams, the idempotency key if there is one
-- ARGV: stream id, the time to live of an ended stream's log, in ms
-- Returns nothing.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
if KEYS[4] then redis.call('PEXPIRE', KEYS[4], tonumber(ARGV[2])) end
