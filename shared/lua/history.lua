-- Included where attempts get their numbers. A number must never come back, though Redis may have lost its attempt
-- (a restart, a failover): a reader may hold an offset of it, and would take what is written now for what it has.
-- KEYS: none of its own
-- ARGV: none of its own
-- Returns nothing by itself: it gives the script that includes it functions.

local name

-- Return the name of the data's history: every restart, and every replica that takes over, begins another.
local function history()
  name = name or string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
  return name
end

-- Return the number of the attempt after `latest`, which began in the history `known`, or in none that is known. In
-- another one it leaps over all that can be lost: to the age of the stream in hundredths of a second, and 1000 more.
local function next_attempt(latest, known, created_ms, now_ms)
  if known == history() then return latest + 1 end
  local leap = 1000 + math.floor(math.max(now_ms - (tonumber(created_ms) or 0), 0) / 10)
  return math.max(latest, math.min(leap, 99000000)) + 1
end

-- Tell whether the history has lasted for `hold_ms`, as the hash `book` knows, or has never been another: only then is
-- what is not there known to have never been there, and not lost a moment ago.
local function settled(book, hold_ms, ttl_ms, now_ms)
  local known = redis.call('HMGET', book, 'name', 'since_ms')
  local since_ms = tonumber(known[2]) or 0
  if known[1] ~= history() then
    since_ms = known[1] and now_ms or 0
    redis.call('HSET', book, 'name', history(), 'since_ms', since_ms)
  end
  redis.call('PEXPIRE', book, ttl_ms)
  return now_ms - since_ms >= hold_ms
end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
