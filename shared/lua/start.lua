-- Start a stream whose log is on the queue's own server: admit it, make it and queue its job, or, refused, nothing at all.
-- KEYS: those of admit, of create and of enqueue
-- ARGV: how many keys and how many arguments are admit's, the same of the others, then the arguments of all three, and
--       the channel
-- Returns what admit does.
local function admit(KEYS, ARGV)
-- include admit
end
local function create(KEYS, ARGV)
-- include create
end
local function enqueue(KEYS, ARGV)
-- include enqueue
end
local keys, arguments = tonumber(ARGV[1]), 6 + tonumber(ARGV[2])
local admitted = admit({unpack(KEYS, 1, keys)}, {unpack(ARGV, 7, arguments)})
if admitted[1] == 'admitted' then
  local more_keys, more_arguments = keys + tonumber(ARGV[3]), arguments + tonumber(ARGV[4])
  local made = {unpack(ARGV, arguments + 1, more_arguments)}
  create({unpack(KEYS, keys + 1, more_keys)}, made)
  redis.call('PUBLISH', ARGV[#ARGV], made[1] .. '\n' .. made[2])
  enqueue({unpack(KEYS, more_keys + 1)}, {unpack(ARGV, more_arguments + 1)})
end
return admitted
