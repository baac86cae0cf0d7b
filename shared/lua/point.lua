-- Have a chat point to its newest stream, by compare-and-set. Of streams that were asked for at the same moment the one
-- made last is the newest; one that was asked for after another was there is newer, whatever the clocks say.
-- KEYS: the chat
-- ARGV: what it held when the stream was asked for, stream id, when the stream was made (Unix ms), ttl_ms
-- Returns 1 if the chat points to the stream now, 0 if it points to a newer one.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and tonumber(string.match(held, '%d+$')) > tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[3], 'PX', tonumber(ARGV[4]))
return 1
