-- Appoint a worker that has a vacancy, of two at random the one that has more, and tell it; none while jobs wait.
-- KEYS: vacancies, wake list
-- ARGV: the format of the names of the workers' channels, what to tell, '' to appoint nobody
-- Returns the worker's id, or nil.
if ARGV[2] == '' or redis.call('EXISTS', KEYS[2]) == 1 then return nil end
local found = redis.call('HRANDFIELD', KEYS[1], 2, 'WITHVALUES')
if #found == 4 and tonumber(found[4]) > tonumber(found[2]) then found = {found[3], found[4], found[1], found[2]} end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 1, #found, 2 do
  local worker = found[at]
  if redis.call('PUBLISH', string.format(ARGV[1], worker), string.format('%.0f\n', now_ms) .. ARGV[2]) > 0 then
    if redis.call('HINCRBY', KEYS[1], worker, -1) < 1 then redis.call('HDEL', KEYS[1], worker) end
    return worker
  end
  redis.call('HDEL', KEYS[1], worker) -- it has died, or lost its connection
end
return nil
