-- Finds the newest entry of some origins in a stream, going back from an entry. It looks at a limited number of entries, and
-- bytes, a call, and reads them one by one: they may be large.
-- KEYS[1]  the stream
-- ARGV     1 where to begin ('+', or '(' and the ID of an entry), 2 entries at most, 3 bytes at most, then the origins
-- Answers  {'FOUND', entry ID, origin, sequence, message ID}, {'MORE', entry ID} to go on from, or {'END', ''}
local origins = {}
for i = 4, #ARGV do
  origins[ARGV[i]] = true
end
local from, bytes = ARGV[1], 0
for _ = 1, tonumber(ARGV[2]) do
  local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 1)
  if #entries == 0 then
    return {'END', ''}
  end
  local entry, field = entries[1], {}
  for i = 1, #entry[2], 2 do
    field[entry[2][i]] = entry[2][i + 1]
    bytes = bytes + #entry[2][i + 1]
  end
  if origins[field.origin or ''] and tonumber(field.sequence) and field.id then
    return {'FOUND', entry[1], field.origin, field.sequence, field.id}
  end
  from = '(' .. entry[1]
  if bytes > tonumber(ARGV[3]) then
    break
  end
end
return {'MORE', string.sub(from, 2)}
