-- Sets high-water marks that Redis has lost, if they still are what was reported: of two relays only one repairs. With a
-- stream, first adds events that it has lost, without publishing them.
-- KEYS[1]  high-water mark of (origin, channel); KEYS[2] the stream, if there is one
-- ARGV     1 and 2 sequence and message ID reported, 3 and 4 those of the stream, 5 to 8 those to set, 9 channel,
--          10 limits of the stream, see entry.lua, 11 source, 12 topic, 13 schema, 14 origin, 15 seconds to keep the mark,
--          then sequence, predecessor, message ID, body, time of each event
-- Answers  {status, seq, id, '', -1, 0, error, stream_seq, stream_id}: OK, LOST with the mark that was found instead, or ERR
local mark = redis.call('HMGET', KEYS[1], 'seq', 'id', 'stream_seq', 'stream_id')
local seq, id, sseq, sid = mark[1] or '0', mark[2] or '', mark[3] or '0', mark[4] or ''
-- They are kept until something is in the stream again, so that it is found gone the next time as well.
local marked, markedID = sseq, sid
if KEYS[2] and sseq ~= '0' and redis.call('EXISTS', KEYS[2]) == 0 then
  sseq, sid = '0', '' -- as it was reported
end
if seq ~= ARGV[1] or id ~= ARGV[2] or KEYS[2] and (sseq ~= ARGV[3] or sid ~= ARGV[4]) then
  return {'LOST', seq, id, '', -1, 0, '', sseq, sid}
end
local function write(seq, id, sseq, sid)
  if KEYS[2] then
    return redis.call('HSET', KEYS[1], 'seq', seq, 'id', id, 'stream_seq', sseq, 'stream_id', sid)
  end
  return redis.call('HSET', KEYS[1], 'seq', seq, 'id', id)
end
write(ARGV[5], ARGV[6], ARGV[7], ARGV[8]) -- first, as in publishing
if #ARGV > 15 then
  local add = adder(KEYS[2], ARGV[10], ARGV[11], ARGV[12], ARGV[9], ARGV[13], ARGV[14])
  for i = 16, #ARGV, 5 do
    local err = add(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 4], ARGV[i + 3])
    if err then
      if i == 16 then
        write(seq, id, marked, markedID)
      else
        write(seq, id, sseq, sid)
      end
      return {'ERR', seq, id, '', -1, 0, err, sseq, sid}
    end
    seq, id, sseq, sid = ARGV[i], ARGV[i + 2], ARGV[i], ARGV[i + 2]
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[15])
return {'OK', ARGV[5], ARGV[6], '', -1, 0, '', ARGV[7], ARGV[8]}
