-- Start due arq jobs that nobody runs: those that are named, and more of those that are due longest.
-- KEYS: queue, wake list
-- ARGV: most to start beside the named ones, for how long those must have been due (ms), prefix of the in-progress
--       marks, how long a mark stands (ms), then names
-- Returns job id, score, and so on in pairs.
-- The marks are keys made here: their names come from the queue, which lives on one server and never on a Cluster.
local page = 100
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local started = {}
local function start(job, due_ms)
  if redis.call('SET', ARGV[3] .. job, '1', 'NX', 'PX', tonumber(ARGV[4])) then
    started[#started + 1] = job
    started[#started + 1] = due_ms
    return true
  end
end
for i = 5, #ARGV do
  local due_ms = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if due_ms and tonumber(due_ms) <= now_ms then start(ARGV[i], due_ms) end
end
if ARGV[1] == '0' then return started end
local wanted = #started + 2 * tonumber(ARGV[1])
local at = 0
-- All pages, not just the first: jobs that others have in progress are still in the queue and must hide nobody.
while #started < wanted do
  local due = redis.call('ZRANGE', KEYS[1], '-inf', now_ms - tonumber(ARGV[2]), 'BYSCORE', 'LIMIT', at, page, 'WITHSCORES')
  for i = 1, #due, 2 do
    -- Its wake would lead nobody to a job any more.
    if #started < wanted and start(due[i], due[i + 1]) then redis.call('LREM', KEYS[2], 1, due[i]) end
  end
  if #due < 2 * page then break end
  at = at + page
end
-- Every due job runs: the wakes left over, whosever they are, lead to none. Not when idle, to cost nothing then.
if #started > 0 and #started < wanted and ARGV[2] == '0' then redis.call('DEL', KEYS[2]) end
return started
