-- Give a stream to a new attempt and tell so in its log. The same token again gets the same grant.
-- KEYS: record, log
-- ARGV: PUBLISH or SPUBLISH, the attempt to replace, token, worker id,
--       the attempt event's entry up to the id it follows, the rest of it, log_ttl_ms, spared_ms: a claim that is
--       younger is not replaced, '1' to leave a stream alone of which Redis may have lost an attempt,
--       channel
-- Returns {"granted", attempt, the id followed, the blob of that entry if it is the only one, or ''}, or
--         {"gone" | "closed" | "cancelled" | "stale", latest attempt}.
-- include history
local state = redis.call('HMGET', KEYS[1], 'token', 'ended_ms', 'cancel', 'attempt', 'follows', 'claimed_ms',
  'history', 'created_ms')
local latest = tonumber(state[4])
if not latest then return {'gone', 0} end
if state[2] then return {'closed', latest} end
if state[3] then return {'cancelled', latest} end
if state[1] == ARGV[3] then return {'granted', latest, state[5], ''} end
if latest ~= tonumber(ARGV[2]) then return {'stale', latest} end
local now_ms = now()
local age_ms = now_ms - (tonumber(state[6]) or 0)
if age_ms >= 0 and age_ms < tonumber(ARGV[8]) then return {'stale', latest} end
if ARGV[9] == '1' and state[7] and state[7] ~= history() then return {'stale', latest} end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local follows = last and last[1] or '0-0'
local length = redis.call('XLEN', KEYS[2])
local attempt = next_attempt(latest, state[7], state[8], now_ms)
local id = string.format('%d-%d', attempt, length + 1)
local blob = ARGV[5] .. follows .. ARGV[6]
redis.call('XADD', KEYS[2], id, 'd', blob)
redis.call('HSET', KEYS[1], 'token', ARGV[3], 'attempt', attempt, 'worker', ARGV[4], 'status', 'running',
  'follows', follows, 'claimed_ms', now_ms, 'history', history())
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
if length == 0 then redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[7])) end
redis.call(ARGV[1], ARGV[10], id .. '\n' .. blob)
return {'granted', attempt, follows, length == 1 and last[2][2] or ''}
