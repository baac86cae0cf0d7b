-- Make a stream's record and first entry, unless the record exists: start order, and restoring after a loss.
-- KEYS: record, log
-- ARGV: id of the first entry, its blob, log_ttl_ms, record_ttl_ms, then the record's fields and values
-- Returns "created" or "exists".
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'exists'
end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]))
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('XADD', KEYS[2], ARGV[1], 'd', ARGV[2])
  redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[3]))
end
return 'created'
