-- Finds the newest entry of an origin in a stream, going back from an entry. It looks at a limited number of entries, and
-- bytes, a call, and reads them one by one: they may be large.
-- KEYS[1]  the stream
-- ARGV     1 origin, 2 where to begin ('+', or '(' and the ID of an entry), 3 entries at most, 4 bytes at most
-- Answers  {'FOUND', entry ID, sequence, message ID}, {'MORE', entry ID} to go on from, or {'END', ''}
local from, bytes = ARGV[2], 0
for _ = 1, tonumber(ARGV[3]) do
  local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 1)
  if #entries == 0 then
    return {'END', ''}
  end
  local entry, field = entries[1], {}
  for i = 1, #entry[2], 2 do
    field[entry[2][i]] = entry[2][i + 1]
    bytes = bytes + #entry[2][i + 1]
  end
  if field.origin == ARGV[1] and field.sequence and field.id then
    return {'FOUND', entry[1], field.sequence, field.id}
  end
  from = '(' .. entry[1]
  if bytes > tonumber(ARGV[4]) then
    break
  end
end
return {'MORE', string.sub(from, 2)}
