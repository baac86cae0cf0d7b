-- Append entries of one stream of a cluster, where what is handed in as keys must be keys: while a slot moves, the server
-- sends a script away for every key that it does not have, and a channel is none.
-- KEYS: record, log
-- ARGV: those of append, and last the channel
-- Returns a list of one status, as append does.
KEYS[3] = table.remove(ARGV)
-- include append
