-- Publishes events again that a Redis process may have taken to its grave. The high-water mark stays as it is; a mark of
-- its own in the same hash, bound to the run_id, sees to it that a process publishes nothing twice: neither what was published
-- again already, nor what it has taken itself.
-- KEYS[1]  high-water mark of (origin, channel): hash of redo_run, redo_seq (up to where which process has published) among
--          others
-- ARGV     1 channel, 2 run_id to insist on, 3 seconds to keep the mark, then sequence and body of each event
-- Answers  {status, seq, id, run_id, receivers, published, error, '0', ''}
local first, last = 4, #ARGV
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local mark = redis.call('HMGET', KEYS[1], 'seq', 'id', 'redo_run', 'redo_seq')
local reply = {'OK', mark[1] or '0', mark[2] or '', run, -1, 0, '', '0', ''}
if ARGV[2] ~= run then
  reply[1] = 'RUN'
  return reply
end
local done = mark[3] == run and mark[4] or '0'
local ends = tonumber(ARGV[last - 1]) > tonumber(done) and ARGV[last - 1] or done
redis.call('HSET', KEYS[1], 'redo_run', run, 'redo_seq', ends)
for i = first, last, 2 do
  if tonumber(ARGV[i]) > tonumber(done) then
    local heard = redis.pcall('PUBLISH', ARGV[1], ARGV[i + 1])
    if type(heard) == 'table' then
      redis.call('HSET', KEYS[1], 'redo_seq', done)
      reply[1], reply[7] = 'ERR', heard.err
      return reply
    end
    done = ARGV[i]
    reply[6] = reply[6] + 1
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[3]) -- last: an error between HSET and PUBLISH would skip events
return reply
