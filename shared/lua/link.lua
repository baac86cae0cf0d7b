-- Return the key that a stream's links are signed with; a fresh one where it has none.
-- KEYS: record
-- ARGV: the fresh key
-- Returns the key, empty when there is no such stream.
if redis.call('EXISTS', KEYS[1]) == 0 then return '' end
redis.call('HSETNX', KEYS[1], 'link_key', ARGV[1])
return redis.call('HGET', KEYS[1], 'link_key')
