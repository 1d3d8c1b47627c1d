--- A cache that forgets what was used least recently.
local Cache = {}
Cache.__index = Cache

function Cache.new(limit)
  assert(limit > 0, "limit must be positive")
  return setmetatable({ limit = limit, entries = {}, order = {} }, Cache)
end

local function position(order, key)
  for index, other in ipairs(order) do
    if other == key then
      return index
    end
  end
  return nil
end

function Cache:touch(key)
  local found = position(self.order, key)
  if found then
    table.remove(self.order, found)
  end
  table.insert(self.order, key)
end

function Cache:get(key, compute)
  local value = self.entries[key]
  if value == nil and compute ~= nil then
    value = compute(key)
    self.entries[key] = value
  end
  self:touch(key)
  while #self.order > self.limit do
    local oldest = table.remove(self.order, 1)
    self.entries[oldest] = nil
  end
  return value
end

function Cache:keys()
  local names = {}
  for key in pairs(self.entries) do
    names[#names + 1] = tostring(key)
  end
  table.sort(names, function(a, b) return a < b end)
  return names
end

return Cache
