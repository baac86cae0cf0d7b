-- Tell for how long nobody has viewed a stream.
-- KEYS: viewers
-- ARGV: none
-- Returns milliseconds since the last viewer left, 0 while there is one, -1 when there was never any.
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not last[2] then return -1 end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return math.max(0, now_ms - tonumber(last[2]))
