-- Publishes a batch of events that follow each other, each once.
-- KEYS[1]  high-water mark of (origin, channel): hash of seq, id, and unheard: the latest sequences that nobody heard
-- ARGV     1 channel, 2 run_id to insist on ('' = any), 3 and 4 sequence and message ID of the predecessor,
--          5 receivers required, 6 receivers known to the caller (-1 = ask this node), 7 seconds to keep the mark,
--          then sequence, message ID, body of each event
-- Answers  {status, seq, id, run_id, receivers, published, error, unheard sequences...}; seq and id are the mark after the call
--          (with LOST, RUN and HELD the mark found, nothing was changed); unheard are those after the predecessor
local first, last = 8, #ARGV
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local receivers = tonumber(ARGV[6])
if receivers < 0 then
  local numsub = redis.pcall('PUBSUB', 'NUMSUB', ARGV[1])
  receivers = not numsub.err and tonumber(numsub[2]) or -1
end
local mark = redis.call('HMGET', KEYS[1], 'seq', 'id', 'unheard')
local seq, id = mark[1] or '0', mark[2] or ''
-- Who heard an event is known once, when it is published: the answer may be cut off, so that it must be kept.
local unheard = {}
for n in string.gmatch(mark[3] or '', '%d+') do
  unheard[#unheard + 1] = n
end
local function answer(status, published, err)
  local reply = {status, seq, id, run, receivers, published, err}
  for _, n in ipairs(unheard) do
    if tonumber(n) > tonumber(ARGV[3]) then
      reply[#reply + 1] = n
    end
  end
  return reply
end

if ARGV[2] ~= '' and ARGV[2] ~= run then
  return answer('RUN', 0, '')
end
local from
if seq == ARGV[3] and id == ARGV[4] then
  from = first
else
  for i = first, last, 3 do
    if ARGV[i] == seq and ARGV[i + 1] == id then
      from = i + 3
      break
    end
  end
end
if not from then
  return answer('LOST', 0, '')
end
if from <= last and receivers >= 0 and receivers < tonumber(ARGV[5]) then
  return answer('HELD', 0, '')
end

-- The mark is written before anything is published: where writing is refused (replica, out of memory, failed disk), a
-- bare PUBLISH would answer OK and lose the message. Nothing else may fail between the two, for a script is not rolled
-- back: hence EXPIRE at the end.
if from <= last then
  redis.call('HSET', KEYS[1], 'seq', ARGV[last - 2], 'id', ARGV[last - 1])
else
  redis.call('HSET', KEYS[1], 'seq', seq, 'id', id)
end
local published, known, err = 0, #unheard, ''
for i = from, last, 3 do
  local heard = redis.pcall('PUBLISH', ARGV[1], ARGV[i + 2])
  if type(heard) == 'table' then
    redis.call('HSET', KEYS[1], 'seq', seq, 'id', id)
    err = heard.err
    break
  end
  seq, id, published = ARGV[i], ARGV[i + 1], published + 1
  if heard == 0 then
    unheard[#unheard + 1] = seq
  end
end
if #unheard > known then
  redis.call('HSET', KEYS[1], 'unheard', table.concat(unheard, ' ', math.max(1, #unheard - 999)))
elseif published > 0 and known > 0 then
  redis.call('HSET', KEYS[1], 'unheard', '')
end
redis.call('EXPIRE', KEYS[1], ARGV[7])
return answer(err == '' and 'OK' or 'ERR', published, err)
