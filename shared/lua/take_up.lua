-- Take up a stream whose log and lease are on one server: claim its first attempt, renew its lease, bring its record; and
-- end the job that asks for it, if it is given, whatever the claim's answer: there is nothing more for it to do.
-- KEYS: those of claim, of renew and of end_job
-- ARGV: how many keys and how many arguments are claim's, the same of renew and of end_job, then the arguments of all
--       three; the attempt event's entry that claim is given ends before its provider, since who takes up a stream does
--       not know its record
-- Returns what claim does, the record's fields and values before, and the entry up to the id it follows.
local function claim(KEYS, ARGV)
-- include claim
end
local function renew(KEYS, ARGV)
-- include renew
end
local function end_job(KEYS, ARGV)
-- include end_job
end
local keys, arguments = tonumber(ARGV[1]), 6 + tonumber(ARGV[2])
local more_keys, more_arguments = keys + tonumber(ARGV[3]), arguments + tonumber(ARGV[4])
local mine = {unpack(ARGV, 7, arguments)}
local record = redis.call('HGETALL', KEYS[1])
local named = redis.call('HMGET', KEYS[1], 'provider', 'model')
local provider, model = cjson.encode(named[1] or ''), cjson.encode(named[2] or '')
mine[5] = mine[5] .. '"provider":' .. provider .. ',"model":' .. model .. ',"follows":"'
local answer = claim({unpack(KEYS, 1, keys)}, mine)
if answer[1] == 'granted' then renew({unpack(KEYS, keys + 1, more_keys)}, {unpack(ARGV, arguments + 1, more_arguments)}) end
if #KEYS > more_keys then end_job({unpack(KEYS, more_keys + 1)}, {unpack(ARGV, more_arguments + 1)}) end
return {answer, record, mine[5]}
