-- Adds an event to a stream. The fields are CloudEvents attributes, then where the event is in its outbox, then its body. The
-- predecessor is the sequence of the event before it in its topic that Redis was given, 0 if there is none: readers see by it
-- what they miss.
-- Every script that adds events begins with this. Redis chooses the entry's ID: several processors may share a stream.
local function adder(stream, maxlen, source, topic, channel, schema, origin)
  local entry = {'XADD', stream, 'MAXLEN', '~', maxlen, '*', 'specversion', '1.0', 'id', '', 'source', source, 'type', topic,
    'time', '', 'subject', channel}
  if schema ~= '' then
    entry[#entry + 1], entry[#entry + 2] = 'dataschema', schema
  end
  local n = #entry
  entry[n + 1], entry[n + 3], entry[n + 5], entry[n + 6], entry[n + 7] = 'sequence', 'predecessor', 'origin', origin, 'data'
  return function(seq, predecessor, id, time, body)
    entry[10], entry[16], entry[n + 2], entry[n + 4], entry[n + 8] = id, time, seq, predecessor, body
    local added = redis.pcall(unpack(entry, 1, n + 8))
    return type(added) == 'table' and added.err or nil
  end
end
