-- Tell how streams stand for those who write them.
-- KEYS: record and log of each
-- ARGV: none
-- Returns a list each: token, cancel, ended_ms and attempt of the record, and the id of the log's last entry, if there is
--       one. For a stream that cannot be read it is the error's text.
local function look(record, log)
  local state = redis.call('HMGET', record, 'token', 'cancel', 'ended_ms', 'attempt')
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  state[5] = last and last[1] or false
  return state
end
local found = {}
for i = 1, #KEYS, 2 do
  local ok, answer = pcall(look, KEYS[i], KEYS[i + 1])
  found[#found + 1] = ok and answer or (type(answer) == 'table' and answer.err or tostring(answer))
end
return found
