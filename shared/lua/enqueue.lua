-- Queue an arq job unless it is known already, and wake one waiting worker with its id when it is due.
-- KEYS: queue, wake list, the job's data, its in-progress mark, its result
-- ARGV: job id, serialized job, due (Unix ms; 0 for now), ttl_ms after due, most wakes kept
-- Returns 1 if queued, 0 if the job was known.
if redis.call('EXISTS', KEYS[3], KEYS[4], KEYS[5]) > 0 then return 0 end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due_ms = tonumber(ARGV[3])
if due_ms == 0 then due_ms = now_ms end
local ttl_ms = math.max(due_ms - now_ms, 0) + tonumber(ARGV[4])
redis.call('SET', KEYS[3], ARGV[2], 'PX', ttl_ms)
redis.call('ZADD', KEYS[1], due_ms, ARGV[1])
-- A job due far ahead must not lose its place because a later one asks for less.
redis.call('PEXPIRE', KEYS[1], math.max(ttl_ms, redis.call('PTTL', KEYS[1])))
if due_ms <= now_ms then
  redis.call('RPUSH', KEYS[2], ARGV[1])
  redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[5]) - 1)
  redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[4]))
end
return 1
