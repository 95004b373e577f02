-- Publishes events again that a Redis process may have taken to its grave. The high-water mark stays as it is; a mark of
-- its own in the same hash, bound to the run_id, sees to it that a process publishes nothing twice: neither what was published
-- again already, nor what it has taken itself.
-- KEYS[1]  high-water mark of (origin, channel): hash of redo_run, redo_seq (up to where which process has published) and
--          redo_unheard (what nobody heard of the latest call: its answer may be cut off) among others
-- ARGV     1 channel, 2 run_id to insist on, 3 receivers required, 4 receivers known to the caller (-1 = ask this node, -2 = not
--          known), 5 seconds to keep the mark, then sequence and body of each event
-- Answers  {status, seq, id, run_id, receivers, published, error, '0', '', unheard sequences...}; with RUN and HELD nothing was
--          changed
local first, last = 6, #ARGV
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local told = tonumber(ARGV[4])
local receivers = math.max(told, -1)
if told == -1 then
  local numsub = redis.pcall('PUBSUB', 'NUMSUB', ARGV[1])
  receivers = not numsub.err and tonumber(numsub[2]) or -1
end
local mark = redis.call('HMGET', KEYS[1], 'seq', 'id', 'redo_run', 'redo_seq', 'redo_unheard')
local unheard = {}
local published = 0
local function answer(status, err)
  local reply = {status, mark[1] or '0', mark[2] or '', run, receivers, published, err, '0', ''}
  for _, n in ipairs(unheard) do
    reply[#reply + 1] = n
  end
  return reply
end
if ARGV[2] ~= run then
  return answer('RUN', '')
end
local done = '0'
if mark[3] == run then
  done = mark[4]
  for n in string.gmatch(mark[5] or '', '%d+') do
    if tonumber(n) >= tonumber(ARGV[first]) then
      unheard[#unheard + 1] = n
    end
  end
end
local ends = done
if tonumber(ARGV[last - 1]) > tonumber(done) then
  ends = ARGV[last - 1]
  if receivers >= 0 and receivers < tonumber(ARGV[3]) then
    unheard = {}
    return answer('HELD', '')
  end
end
redis.call('HSET', KEYS[1], 'redo_run', run, 'redo_seq', ends)
local err
for i = first, last, 2 do
  if tonumber(ARGV[i]) > tonumber(done) then
    local heard = redis.pcall('PUBLISH', ARGV[1], ARGV[i + 1])
    if type(heard) == 'table' then
      err = heard.err
      redis.call('HSET', KEYS[1], 'redo_seq', done)
      break
    elseif heard == 0 and told <= 0 then -- PUBLISH does not count the subscribers at other nodes of a Cluster
      unheard[#unheard + 1] = ARGV[i]
    end
    done = ARGV[i]
    published = published + 1
  end
end
if published > 0 and (#unheard > 0 or mark[5] and mark[5] ~= '') then
  redis.call('HSET', KEYS[1], 'redo_unheard', table.concat(unheard, ' '))
end
redis.call('EXPIRE', KEYS[1], ARGV[5]) -- last: an error between HSET and PUBLISH would skip events
return answer(err and 'ERR' or 'OK', err or '')
