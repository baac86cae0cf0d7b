-- Make a stream's record and first entry, unless there is a record of this attempt or a later one: the start order,
-- and restoring what Redis has lost.
-- KEYS: record, log
-- ARGV: id of the first entry, its blob, log_ttl_ms, record_ttl_ms, attempt, '1' if the stream's id is new, so that
--       nothing of it can have been lost before, then the record's fields and values
-- Returns "created" or "exists".
-- include history
local attempt = redis.call('HGET', KEYS[1], 'attempt')
if attempt and tonumber(attempt) >= tonumber(ARGV[5]) then
  return 'exists'
end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
if ARGV[6] == '1' then redis.call('HSET', KEYS[1], 'history', history()) end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]))
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('XADD', KEYS[2], ARGV[1], 'd', ARGV[2])
  redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[3]))
end
return 'created'
