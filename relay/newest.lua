-- Lists the newest entries of a stream without their bodies, the latest first, going back from an entry. It looks at a limited
-- number of entries, and bytes, a call, and reads them one by one: they may be large.
-- KEYS[1]  the stream
-- ARGV     1 where to begin ('+', or '(' and the ID of an entry), 2 entries at most, 3 bytes at most, but always one entry
-- Answers  {entry ID, origin, sequence, message ID} of each, one after the other; what an entry lacks is empty
local from, bytes, list = ARGV[1], 0, {}
for _ = 1, tonumber(ARGV[2]) do
  local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 1)
  if #entries == 0 then
    break
  end
  local entry, field = entries[1], {}
  for i = 1, #entry[2], 2 do
    field[entry[2][i]] = entry[2][i + 1]
    bytes = bytes + #entry[2][i + 1]
  end
  for _, value in ipairs({entry[1], field.origin or '', field.sequence or '', field.id or ''}) do
    list[#list + 1] = value
  end
  from = '(' .. entry[1]
  if bytes > tonumber(ARGV[3]) then
    break
  end
end
return list
