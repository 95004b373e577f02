-- Asks which commands the user who runs it may give. None of them is executed, no key is read or written.
-- ARGV     for each command: how many words it has, then the words
-- Answers  for each command 1 (permitted), 0 (not permitted) or -1 (Redis has no such command); nothing at all before
--          Redis 7.0, which cannot tell
local answers = {}
local i = 1
while redis.acl_check_cmd and i <= #ARGV do
  local words = tonumber(ARGV[i])
  local known, permitted = pcall(redis.acl_check_cmd, unpack(ARGV, i + 1, i + words))
  answers[#answers + 1] = not known and -1 or permitted and 1 or 0
  i = i + words + 1
end
return answers
