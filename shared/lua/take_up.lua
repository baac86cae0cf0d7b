-- Take up a stream whose log and lease are on one server: claim its first attempt, renew its lease, bring its record; and
-- end the job that asks for it, if it is given, whatever the claim's answer: there is nothing more for it to do.
-- KEYS: those of claim, of renew and of end_job
-- ARGV: how many keys and how many arguments each of the three has, then the arguments of all three; the attempt event's
--       entry that claim is given ends before its provider, since who takes up a stream does not know its record
-- Returns what claim does, the record's fields and values before, and the entry up to the id it follows.
-- include step
local function claim(KEYS, ARGV)
-- include claim
end
local function renew(KEYS, ARGV)
-- include renew
end
local function end_job(KEYS, ARGV)
-- include end_job
end
local names, mine = step(3, 1)
local record = redis.call('HGETALL', names[1])
local named = redis.call('HMGET', names[1], 'provider', 'model')
local provider, model = cjson.encode(named[1] or ''), cjson.encode(named[2] or '')
mine[5] = mine[5] .. '"provider":' .. provider .. ',"model":' .. model .. ',"follows":"'
local answer = claim(names, mine)
if answer[1] == 'granted' then renew(step(3, 2)) end
local job, ending = step(3, 3)
if #job > 0 then end_job(job, ending) end
return {answer, record, mine[5]}
