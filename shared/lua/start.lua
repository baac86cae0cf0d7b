-- Start a stream whose log is on the queue's own server: admit it, make it, and claim it for a worker that has a
-- vacancy or, if there is none, queue its job. A stream that is refused leaves nothing at all.
-- KEYS: those of admit, create, enqueue, appoint, claim and renew
-- ARGV: how many keys and how many arguments each of the six has, then the arguments of all six, of which claim's
--       worker is filled in here, and the channel
-- Returns what admit does.
-- include step
local function admit(KEYS, ARGV)
-- include admit
end
local function create(KEYS, ARGV)
-- include create
end
local function enqueue(KEYS, ARGV)
-- include enqueue
end
local function appoint(KEYS, ARGV)
-- include appoint
end
local function claim(KEYS, ARGV)
-- include claim
end
local function renew(KEYS, ARGV)
-- include renew
end
local admitted = admit(step(6, 1))
if admitted[1] ~= 'admitted' then return admitted end
local names, made = step(6, 2)
local new = create(names, made) == 'created'
redis.call('PUBLISH', ARGV[#ARGV], made[1] .. '\n' .. made[2])
-- One that was made before, by a call whose answer was lost, may be a worker's already.
local worker = new and appoint(step(6, 4))
if not worker then enqueue(step(6, 3)) return admitted end
local claimed, claiming = step(6, 5)
claiming[4] = worker
claim(claimed, claiming)
renew(step(6, 6))
return admitted
