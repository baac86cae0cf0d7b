-- Included by scripts that take several steps at once, whose arguments begin with how many keys and how many arguments
-- each step has, in pairs.
-- KEYS: none of its own
-- ARGV: none of its own
-- Returns nothing by itself: it gives the script that includes it a function.

-- Return the keys and the arguments of the nth of so many steps.
local function step(steps, nth)
  local key, argument = 0, 2 * steps
  for at = 1, nth - 1 do
    key, argument = key + ARGV[2 * at - 1], argument + ARGV[2 * at]
  end
  return {unpack(KEYS, key + 1, key + ARGV[2 * nth - 1])}, {unpack(ARGV, argument + 1, argument + ARGV[2 * nth])}
end
