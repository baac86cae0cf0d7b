-- Ask for a stream's end: set the flag its worker is shown at the next append or check.
-- KEYS: record
-- ARGV: now_ms
-- Returns {"asked" | "closed" | "gone", attempt, worker id}.
local state = redis.call('HMGET', KEYS[1], 'attempt', 'worker', 'ended_ms')
if not state[1] then return {'gone', 0, ''} end
if state[3] then return {'closed', tonumber(state[1]), ''} end
redis.call('HSETNX', KEYS[1], 'cancel', ARGV[1])
return {'asked', tonumber(state[1]), state[2] or ''}
