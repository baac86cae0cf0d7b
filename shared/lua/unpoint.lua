-- Have a chat point to nothing, unless it points to another stream by now.
-- KEYS: the chat
-- ARGV: stream id
-- Returns 1 if it pointed to the stream, else 0.
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^%S+') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
