-- Adds an event to a stream. The fields are CloudEvents attributes, then where the event is in its outbox, then its body.
-- Every script that adds events begins with this. Redis chooses the entry's ID: several processors may share a stream.
local function adder(stream, maxlen, source, topic, channel, schema, origin)
  local entry = {'XADD', stream, 'MAXLEN', '~', maxlen, '*', 'specversion', '1.0', 'id', '', 'source', source, 'type', topic,
    'time', '', 'subject', channel}
  if schema ~= '' then
    entry[#entry + 1], entry[#entry + 2] = 'dataschema', schema
  end
  local n = #entry
  entry[n + 1], entry[n + 3], entry[n + 4], entry[n + 5] = 'sequence', 'origin', origin, 'data'
  return function(seq, id, time, body)
    entry[10], entry[16], entry[n + 2], entry[n + 6] = id, time, seq, body
    local added = redis.pcall(unpack(entry, 1, n + 6))
    return type(added) == 'table' and added.err or nil
  end
end
