-- End an arq job that nobody has marked as in progress: take it out of the queue, with what arq keeps of it.
-- KEYS: queue, the job's data, its tries
-- ARGV: job id
-- Returns nothing.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
