-- Every script that adds events begins with this.

-- What is to be kept of a stream while events are added to it: at least keep entries; and what its consumer groups have still to
-- read, up to most. What all groups have read is removed here, beyond keep. Where a command for that is denied or unknown, and
-- where there are no groups, the stream just keeps about keep.
local function room(stream, keep, most)
  local function order(id) -- compares as text
    local ms, n = string.match(id, '^(%d+)-(%d+)$')
    return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #n) .. n
  end
  local length, groups = redis.pcall('XLEN', stream), redis.pcall('XINFO', 'GROUPS', stream)
  if type(length) ~= 'number' or groups.err or #groups == 0 then
    return keep
  end
  local needed
  for _, group in ipairs(groups) do
    local field = {}
    for i = 1, #group, 2 do
      field[group[i]] = group[i + 1]
    end
    local ids = {field['last-delivered-id']}
    if field.pending > 0 then
      local pending = redis.pcall('XPENDING', stream, field.name)
      if pending.err then
        return keep
      end
      ids[2] = pending[2] -- the smallest
    end
    for _, id in ipairs(ids) do
      if not needed or order(id) < order(needed) then
        needed = id
      end
    end
  end
  if length > tonumber(keep) then
    local trimmed = redis.pcall('XTRIM', stream, 'MINID', '~', needed, 'LIMIT', length - keep)
    if type(trimmed) == 'table' then
      return keep
    end
  end
  return most
end

-- Adds an event to a stream. The fields are CloudEvents attributes, then where the event is in its outbox, then its body. The
-- predecessor is the sequence of the event before it in its topic that Redis was given, 0 if there is none: readers see by it
-- what they miss.
-- Redis chooses the entry's ID: several processors may share a stream. limits are keep and most, a space between them.
local function adder(stream, limits, source, topic, channel, schema, origin)
  local keep, most = string.match(limits, '^(%d+) (%d+)$')
  local entry = {'XADD', stream, 'MAXLEN', '~', room(stream, keep, most), '*', 'specversion', '1.0', 'id', '', 'source', source, 'type', topic,
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
