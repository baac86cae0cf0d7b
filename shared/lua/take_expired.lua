-- Take streams whose lease has run out, the longest overdue first, each for one lease.
-- KEYS: leases
-- ARGV: lease_ms, ttl_ms, most to take (0 only looks), the time after which nothing may be taken any more: the command
--       has waited for a server that stood still, as have those that renew; the run of the server that the caller knows
--       ('' for any): after a restart, of which it has yet to hear, leases may be there that are older than they were
-- Returns the time in ms and then: stream id, "handed_over" or "lease_expired", and so on in pairs; or "none" when
--         there are no leases at all.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Changes nothing, but is refused where a renewal is: by a full server, or one that is a replica for the time being.
redis.call('ZADD', KEYS[1], 'XX', 0, '')
if now_ms > tonumber(ARGV[4]) then return {now_ms} end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[3]))
local known = #due == 0 or ARGV[5] == '' or string.find(redis.call('INFO', 'server'), 'run_id:' .. ARGV[5], 1, true)
if not known then return {now_ms} end
local taken = {now_ms}
for i = 1, #due, 2 do
  redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[1]), due[i])
  taken[i + 1] = due[i]
  taken[i + 2] = tonumber(due[i + 1]) == 0 and 'handed_over' or 'lease_expired'
end
if #due > 0 then
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]))
elseif redis.call('EXISTS', KEYS[1]) == 0 then
  taken[2] = 'none'
end
return taken
