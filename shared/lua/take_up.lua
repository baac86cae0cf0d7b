-- Take up a stream whose log and lease are on one server: claim its first attempt, renew its lease, bring its record.
-- KEYS: those of claim and of renew
-- ARGV: how many keys and how many arguments are claim's, the same of renew, then the arguments of both; the attempt
--       event's entry that claim is given ends before its provider, since who takes up a stream does not know its record
-- Returns what claim does, the record's fields and values before, and the entry up to the id it follows.
local function claim(KEYS, ARGV)
-- include claim
end
local function renew(KEYS, ARGV)
-- include renew
end
local keys, arguments = tonumber(ARGV[1]), 4 + tonumber(ARGV[2])
local mine = {unpack(ARGV, 5, arguments)}
local record = redis.call('HGETALL', KEYS[1])
local named = redis.call('HMGET', KEYS[1], 'provider', 'model')
local provider, model = cjson.encode(named[1] or ''), cjson.encode(named[2] or '')
mine[5] = mine[5] .. '"provider":' .. provider .. ',"model":' .. model .. ',"follows":"'
local answer = claim({unpack(KEYS, 1, keys)}, mine)
if answer[1] == 'granted' then renew({unpack(KEYS, keys + 1)}, {unpack(ARGV, arguments + 1)}) end
return {answer, record, mine[5]}
