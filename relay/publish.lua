-- Publishes a batch of events that follow each other, each once, and adds each to the stream, once, if there is one.
-- KEYS[1]  high-water mark of (origin, channel): hash of seq and id: the last event that was published; stream_seq and
--          stream_id: the last one that the stream was given; unheard: the latest sequences that nobody heard; redo_run and
--          redo_seq: what was published by which process of Redis, see republish.lua
-- KEYS[2]  the stream, if events are added to one
-- ARGV     1 channel, 2 run_id to insist on ('' = any), 3 and 4 sequence and message ID of the predecessor,
--          5 receivers required, 6 receivers known to the caller (-1 = ask this node, -2 = not known),
--          7 seconds to keep the mark, 8 and 9 stream_seq and stream_id that may be ahead of seq and id,
--          10 limits of the stream, see entry.lua, 11 source, 12 topic, 13 schema of the data, 14 origin (10 to 14 for the stream),
--          15 sequence, message ID and, with a stream, time of each event, separated by spaces: a string for each of them would
--          cost more than to publish it, and without a stream they are seldom needed; 16 and 17 sequence and message ID of
--          the last event, then the body of each; without events, 16 is the sequence up to which the caller has stored what no
--          one heard
-- Answers  {status, seq, id, run_id, receivers, published, error, stream_seq, stream_id, unheard sequences...}; seq and id are
--          the mark after the call (with LOST, GONE, RUN and HELD the mark found, nothing was changed); unheard are those
--          after the predecessor
local body, count = 17, #ARGV - 17 -- the body of event i is ARGV[body + i]
local words, step = nil, KEYS[2] and 3 or 2
local function event(i) -- sequence, message ID, time
  if not words then
    words = {}
    for word in string.gmatch(ARGV[15], '%S+') do
      words[#words + 1] = word
    end
  end
  local w = (i - 1) * step
  return words[w + 1], words[w + 2], words[w + 3]
end
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local told = tonumber(ARGV[6])
local receivers = math.max(told, -1)
if told == -1 then
  local numsub = redis.pcall('PUBSUB', 'NUMSUB', ARGV[1])
  receivers = not numsub.err and tonumber(numsub[2]) or -1
end
local mark = redis.call('HMGET', KEYS[1], 'seq', 'id', 'unheard', 'stream_seq', 'stream_id')
local seq, id = mark[1] or '0', mark[2] or ''
local sseq, sid = mark[4] or '0', mark[5] or ''
local gone = KEYS[2] and sseq ~= '0' and redis.call('EXISTS', KEYS[2]) == 0
if gone then
  sseq, sid = '0', ''
end
-- Who heard an event is known once, when it is published: the answer may be cut off, so that it must be kept.
local unheard = {}
for n in string.gmatch(mark[3] or '', '%d+') do
  unheard[#unheard + 1] = n
end
local function answer(status, published, err)
  local reply = {status, seq, id, run, receivers, published, err, sseq, sid}
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
  from = 1
else
  for i = 1, count do
    local n, name = event(i)
    if n == seq and name == id then
      from = i + 1
      break
    end
  end
end
-- The stream may be ahead: by the event whose PUBLISH failed, or by what another origin of the same file has added. But
-- nothing is skipped as added before unless the caller knows the event, and nothing is added that the caller knows to be there.
local ahead = KEYS[2] and tonumber(sseq) > tonumber(seq)
local behind = KEYS[2] and tonumber(ARGV[8]) > tonumber(ARGV[3]) and tonumber(sseq) < tonumber(ARGV[8])
if not from or behind or ahead and not (sseq == ARGV[8] and sid == ARGV[9]) then
  return answer('LOST', 0, '')
end
if gone then
  return answer('GONE', 0, '')
end
if from <= count and receivers >= 0 and receivers < tonumber(ARGV[5]) then
  return answer('HELD', 0, '')
end

-- The mark is written before anything is added or published: where writing is refused (replica, out of memory, failed disk), a
-- bare PUBLISH would answer OK and lose the message. Nothing else may fail between the two, for a script is not rolled
-- back: hence EXPIRE at the end.
local upto = ahead and tonumber(sseq) or 0 -- the stream has every event up to here
-- redo_run and redo_seq say what this process has published, also to a relay that dies before it has stored which process that
-- was.
local function write(seq, id, sseq, sid)
  if KEYS[2] then
    return redis.call('HSET', KEYS[1], 'seq', seq, 'id', id, 'redo_run', run, 'redo_seq', seq,
      'stream_seq', sseq, 'stream_id', sid)
  end
  return redis.call('HSET', KEYS[1], 'seq', seq, 'id', id, 'redo_run', run, 'redo_seq', seq)
end
if from > count then
  redis.call('HSET', KEYS[1], 'seq', seq, 'id', id)
elseif upto >= tonumber(ARGV[16]) then
  write(ARGV[16], ARGV[17], sseq, sid)
else
  write(ARGV[16], ARGV[17], ARGV[16], ARGV[17])
end
local add = KEYS[2] and adder(KEYS[2], ARGV[10], ARGV[11], ARGV[12], ARGV[1], ARGV[13], ARGV[14])
local known, err = #unheard, nil
local done = from - 1 -- how many of the events are published
local channel, pcall, bodies = ARGV[1], redis.pcall, ARGV
for i = from, count do
  if add then
    local n, name, time = event(i)
    if tonumber(n) > upto then
      local predecessor = i > 1 and event(i - 1) or ARGV[3]
      if seq ~= '0' and tonumber(sseq) > tonumber(predecessor) then
        predecessor = sseq -- its PUBLISH failed, and it was discarded then; under a fresh origin it is the former one's
      end
      err = add(n, predecessor, name, time, bodies[body + i])
      if err then
        break
      end
      sseq, sid = n, name
    end
  end
  local heard = pcall('PUBLISH', channel, bodies[body + i])
  if heard == 0 then
    if told <= 0 then -- PUBLISH does not count the subscribers at other nodes of a Cluster
      unheard[#unheard + 1] = (event(i))
    end
  elseif type(heard) == 'table' then
    err = heard.err
    break
  end
  done = i
end
local published = done - from + 1
if published > 0 and done == count then
  seq, id = ARGV[16], ARGV[17]
elseif published > 0 then
  seq, id = event(done)
end
if err then
  write(seq, id, sseq, sid)
end
if #unheard > known then
  redis.call('HSET', KEYS[1], 'unheard', table.concat(unheard, ' ', math.max(1, #unheard - 999)))
elseif count == 0 and known > 0 then
  local kept = {}
  for _, n in ipairs(unheard) do
    if tonumber(n) > tonumber(ARGV[16]) then
      kept[#kept + 1] = n
    end
  end
  if #kept < known then
    redis.call('HSET', KEYS[1], 'unheard', table.concat(kept, ' '))
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[7])
return answer(err and 'ERR' or 'OK', published, err or '')
