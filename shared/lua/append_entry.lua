-- Append one entry to a stream: the body of a function, whose parameters are record, log, channel, token and attempt of
-- the writer, id and blob of the entry, and status, '' unless the entry ends the stream.
-- KEYS: none of its own
-- ARGV: PUBLISH or SPUBLISH, the time to live of a running stream's log, of an ended one's, and of its record, in ms
-- Returns "done", "done cancel", "fenced", "closed", "gone" or "tail ID".
local state = redis.call('HMGET', record, 'token', 'ended_ms', 'cancel', 'attempt')
-- A record of an earlier attempt is one that Redis took back: it lost the claim, and nobody has claimed since.
if not state[4] or tonumber(state[4]) < tonumber(attempt) then return 'gone' end
if state[1] ~= token then return 'fenced' end
local seq, length = tonumber(string.match(id, '%d+$')), redis.call('XLEN', log)
if length >= seq then
  local same = redis.call('XRANGE', log, id, id)[1]
  if same and same[2][2] == blob then return state[3] and 'done cancel' or 'done' end
end
if state[2] then return 'closed' end
if length ~= seq - 1 then
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  return 'tail ' .. (last and last[1] or '0-0')
end
redis.call('XADD', log, id, 'd', blob)
if status ~= '' then
  redis.call('HSET', record, 'status', status, 'ended_ms', string.match(blob, '^%d+ (%d+)'))
  redis.call('HDEL', record, 'request')
  redis.call('PEXPIRE', record, tonumber(ARGV[4]))
  redis.call('PEXPIRE', log, tonumber(ARGV[3]))
elseif seq == 1 then redis.call('PEXPIRE', log, tonumber(ARGV[2])) end
redis.call(ARGV[1], channel, id .. '\n' .. blob)
return state[3] and 'done cancel' or 'done'
