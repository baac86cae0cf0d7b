-- Start due arq jobs that nobody runs, the longest due first: each is marked in progress.
-- KEYS: queue, wake list
-- ARGV: most to start, prefix of the in-progress marks, how long a mark stands (ms)
-- Returns job id, score, and so on in pairs.
-- The marks are keys made here: their names come from the queue, which lives on one server and never on a Cluster.
local page = 100
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local wanted = 2 * tonumber(ARGV[1])
local started = {}
local at = 0
-- All pages, not just the first: jobs that others have in progress are still in the queue and must hide nobody.
while #started < wanted do
  local due = redis.call('ZRANGE', KEYS[1], '-inf', now_ms, 'BYSCORE', 'LIMIT', at, page, 'WITHSCORES')
  for i = 1, #due, 2 do
    if #started < wanted and redis.call('SET', ARGV[2] .. due[i], '1', 'NX', 'PX', tonumber(ARGV[3])) then
      started[#started + 1] = due[i]
      started[#started + 1] = due[i + 1]
    end
  end
  if #due < 2 * page then break end
  at = at + page
end
-- Every due job runs: the wakes left over are for jobs that polls have started. Not when idle, to cost nothing then.
if #started > 0 and #started < wanted then redis.call('DEL', KEYS[2]) end
return started
