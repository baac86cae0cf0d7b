-- Append one entry to each of several streams; an error stops that stream alone. One that ends may be released with it.
-- KEYS: record, log, channel of each stream, then those of each release
-- ARGV: those of append_entry, how many streams, then per stream: token and attempt of the writer, id and blob of the
--       entry, end status ('' unless it ends), how many keys its release has (0: there is none); then each release's own
-- Returns one status a stream: "done", "done cancel", "fenced", "closed", "gone", "tail ID" or "error TEXT".
local function append(record, log, channel, token, attempt, id, blob, status)
-- include append_entry
end
local function release(KEYS, ARGV)
-- include release
end
local answers, streams = {}, tonumber(ARGV[5])
local key, argument = 3 * streams, 5 + 6 * streams
for i = 1, streams do
  local ok, answer = pcall(append, KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i], unpack(ARGV, 6 * i, 6 * i + 4))
  local failure = not ok and (type(answer) == 'table' and answer.err or tostring(answer))
  -- A demoted primary refuses all of them, and its connection must go: as an error, so that the client sees it.
  if failure and string.find(failure, 'READONLY') then return redis.error_reply('READONLY ' .. failure) end
  answers[i] = failure and 'error ' .. failure or answer
  local more = tonumber(ARGV[6 * i + 5])
  if more > 0 then
    if string.find(answers[i], '^done') then
      release({unpack(KEYS, key + 1, key + more)}, {unpack(ARGV, argument + 1, argument + 2)})
    end
    key, argument = key + more, argument + 2
  end
end
return answers
