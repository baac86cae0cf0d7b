-- Admit a new stream on the queue Redis: answer a repeated idempotency key, check the limits, and note when the
-- stream is offered to every worker should its job be lost.
-- KEYS: leases, the tenant's active streams, the tenant's index, idempotency key (or the same as the index: none),
--       applicants, the history of the data
-- ARGV: stream id, what to keep under the key, start_grace_ms, running_ttl_ms, index_ttl_ms,
--       max active of the tenant, max active of all, tenant, hold_ms: how long after a loss of data an unknown key
--       may be one that was lost and comes back
-- Returns {"admitted"}, {"repeated", what the key holds}, {"unsettled"}: ask again, {"tenant full"} or {"full"}.
-- include history
local now_ms = now()
if KEYS[4] ~= KEYS[3] then
  local held = redis.call('GET', KEYS[4])
  if held then
    -- Whoever finds the stream ended takes this back; one whose due time is lost is found again.
    redis.call('ZADD', KEYS[1], 'NX', now_ms + tonumber(ARGV[3]), string.match(held, '^%S+'))
    redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]))
    return {'repeated', held}
  end
  if not settled(KEYS[6], tonumber(ARGV[9]), tonumber(ARGV[4]), now_ms) then return {'unsettled'} end
end
-- Changes nothing, but a full server refuses it, and lets a script go on that has begun by taking something away.
redis.call('ZADD', KEYS[1], 'XX', 0, '')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then return {'tenant full'} end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[7]) then return {'full'} end
redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]))
redis.call('ZADD', KEYS[2], now_ms + tonumber(ARGV[4]), ARGV[1])
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[4]))
redis.call('HSET', KEYS[5], ARGV[1], ARGV[8])
redis.call('PEXPIRE', KEYS[5], tonumber(ARGV[4]))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now_ms - tonumber(ARGV[5]))
redis.call('ZADD', KEYS[3], now_ms, ARGV[1])
redis.call('PEXPIRE', KEYS[3], tonumber(ARGV[5]))
if KEYS[4] ~= KEYS[3] then redis.call('SET', KEYS[4], ARGV[2], 'PX', tonumber(ARGV[4])) end
return {'admitted'}
