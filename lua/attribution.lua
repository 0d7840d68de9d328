-- Tells what only HTTP shows of a proxied request: whose address it went to, the
-- vendor's pool, how long the vendor took to answer, and the vendor's own verdict.
--
-- Envoy loads this once per worker; both hooks run once per request. Nothing here
-- raises, blocks, logs or changes a header: when in doubt a value stays unset and the
-- request goes on. The vendor label itself does not depend on this script: a constant of
-- the filter chain carries it, so a script that fails loses detail and never a count.

-- Filled by components/attribution/lua.py, one sorted range a line, so a diff names the range.
local CATALOGUE = nil

local NAMESPACE = "proxy_observability"
local UNKNOWN = "unknown"
local MAX_REMEMBERED_ADDRESSES = 4096

local function ipv4_number(text) -- nil unless dotted decimal with four octets
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if not a or a > 255 or b > 255 or c > 255 or d > 255 then
    return nil
  end
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function append_groups(groups, text) -- false when a group is not 1-4 hex digits
  for part in (text .. ":"):gmatch("([^:]*):") do
    if not part:match("^%x%x?%x?%x?$") then
      return false
    end
    groups[#groups + 1] = tonumber(part, 16)
  end
  return true
end

local function ipv6_groups(text) -- eight 16-bit numbers, or nil
  local head, tail = text:match("^(.-)::(.*)$")
  local groups = {}
  if not head then
    return append_groups(groups, text) and #groups == 8 and groups or nil
  end
  local last = {}
  if (head ~= "" and not append_groups(groups, head))
    or (tail ~= "" and not append_groups(last, tail))
    or #groups + #last > 7 then
    return nil
  end
  while #groups + #last < 8 do
    groups[#groups + 1] = 0
  end
  for _, group in ipairs(last) do
    groups[#groups + 1] = group
  end
  return groups
end

local function ipv6_key(groups, prefix_length) -- equal for two addresses that share the prefix
  local whole = math.floor(prefix_length / 16)
  local rest = prefix_length % 16
  local parts = {}
  for i = 1, whole do
    parts[i] = groups[i]
  end
  if rest > 0 then
    parts[whole + 1] = math.floor(groups[whole + 1] / 2 ^ (16 - rest))
  end
  return table.concat(parts, ":")
end

local function block_key(number, groups, prefix_length)
  if number then
    return math.floor(number / 2 ^ (32 - prefix_length))
  end
  return ipv6_key(groups, prefix_length)
end

-- Per family a list of levels { length, owners }, longest prefix first: the first hit wins.
local function build_index(ranges)
  local by_length = { ipv4 = {}, ipv6 = {} }
  for _, range in ipairs(ranges) do
    local address, length = range[1]:match("^(.+)/(%d+)$")
    length = tonumber(length)
    local number = ipv4_number(address)
    local lengths = number and by_length.ipv4 or by_length.ipv6
    lengths[length] = lengths[length] or {}
    lengths[length][block_key(number, not number and ipv6_groups(address), length)] = range
  end

  local index = { ipv4 = {}, ipv6 = {} }
  for family, lengths in pairs(by_length) do
    for length, owners in pairs(lengths) do
      table.insert(index[family], { length = length, owners = owners })
    end
    table.sort(index[family], function(a, b)
      return a.length > b.length
    end)
  end
  return index
end

local function find_range(index, ip) -- the catalogue's row for a bare address, or nil
  -- A dual-stack listener may print an IPv4 destination in its mapped form.
  local number = ipv4_number(ip:match("^::ffff:([%d%.]+)$") or ip)
  local groups
  if not number then
    groups = ipv6_groups(ip)
    if not groups then
      return nil
    end
  end
  for _, level in ipairs(number and index.ipv4 or index.ipv6) do
    local range = level.owners[block_key(number, groups, level.length)]
    if range then
      return range
    end
  end
  return nil
end

local function bare_address(address) -- "10.1.0.10:3128" or "[2001:db8::1]:3128" without the port
  return address:match("^%[(.-)%]:%d+$") or address:match("^([^:]+):%d+$") or address
end

local INDEX = build_index(CATALOGUE and CATALOGUE.ranges or {})
local VERDICTS = CATALOGUE and CATALOGUE.verdicts or {}
local VENDOR = CATALOGUE and CATALOGUE.vendor or UNKNOWN

-- A crawler talks to few proxies many times: parse each address once. Bounded, because
-- the addresses are the crawler's choice.
local remembered, remembered_count = {}, 0

local function range_of(address)
  local range = remembered[address]
  if range == nil then
    range = find_range(INDEX, bare_address(address)) or false
    if remembered_count >= MAX_REMEMBERED_ADDRESSES then
      remembered, remembered_count = {}, 0
    end
    remembered[address] = range
    remembered_count = remembered_count + 1
  end
  return range
end

-- The first rule that fits the answer; rules are grouped by status, in the stack's order.
local function verdict_of(headers)
  local rules = VERDICTS[headers:get(":status")]
  if not rules then
    return nil
  end
  for _, rule in ipairs(rules) do
    local value = rule.header and headers:get(rule.header)
    if not rule.header or (value and (not rule.contains or value:find(rule.contains, 1, true))) then
      return rule.outcome
    end
  end
  return nil
end

function envoy_on_request(handle) -- global because Envoy looks it up by name
  local stream = handle:streamInfo()
  local metadata = stream:dynamicMetadata()
  metadata:set(NAMESPACE, "started_milliseconds", handle:timestamp())

  -- The name is for access logs and whoever else reads metadata; metrics use the constant.
  local range = range_of(stream:downstreamLocalAddress())
  metadata:set(NAMESPACE, "proxy_vendor", range and VENDOR or UNKNOWN)
  if range and range[2] then
    metadata:set(NAMESPACE, "proxy_pool", range[2])
  end
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local own = metadata:get(NAMESPACE)
  if own and own.started_milliseconds then
    metadata:set(NAMESPACE, "setup_milliseconds", handle:timestamp() - own.started_milliseconds)
  end

  local verdict = verdict_of(handle:headers())
  if verdict then
    metadata:set(NAMESPACE, "verdict", verdict)
  end
end
