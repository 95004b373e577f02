-- Sets a high-water mark that Redis has lost, if it still is what was reported: of two relays only one repairs.
-- KEYS[1]  high-water mark of (origin, channel)
-- ARGV     1 and 2 sequence and message ID reported, 3 and 4 those to set, 5 seconds to keep the mark
-- Answers  {status, seq, id, '', -1, 0, ''}: OK, or LOST with the mark that was found instead
local mark = redis.call('HMGET', KEYS[1], 'seq', 'id')
local seq, id = mark[1] or '0', mark[2] or ''
if seq ~= ARGV[1] or id ~= ARGV[2] then
  return {'LOST', seq, id, '', -1, 0, ''}
end
redis.call('HSET', KEYS[1], 'seq', ARGV[3], 'id', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {'OK', ARGV[3], ARGV[4], '', -1, 0, ''}
