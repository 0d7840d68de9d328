-- Writes into a proxied request's metadata the vendor's pool, the group of the crawled site, and the
-- outcome that the vendor's own rules give to the answer.
--
-- Envoy loads this script once per worker and runs its hooks once per request. The hooks never
-- raise, block, log or change a header: a value that cannot be found stays unset, and the request
-- goes on. Loading raises if the catalogue cannot be read; Envoy then keeps the script it has and
-- counts a rejected update. The label `proxy_vendor` does not need this script: a constant in the
-- filter chain carries it. A script that fails loses detail and never a count.

-- components/attribution/lua.py fills this slot, with `vendor` where all addresses are one vendor's
-- and no range has a pool, and else with `ranges`: one a line, sorted, so that a diff names the range:
-- "10.1.8.0/24 vendor-a residential". A pool of `-` is none, and ports follow where vendors differ
-- by port.
local CATALOGUE = nil

local NAMESPACE = "proxy_observability"
local HAS_POOLS = false -- set as the ranges are read
local MAX_REMEMBERED = 4096
local MAX_AUTHORITY = 260 -- the longest DNS name, and a port
local MAX_USER = 256 -- bytes; a longer user name has no product

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

local function port_ranges(text) -- "3128,10000-10999" as {{first, last}}; nil for every port
  local ranges = {}
  for first, last in text:gmatch("(%d+)%-?(%d*)") do
    first = tonumber(first)
    table.insert(ranges, { first, tonumber(last) or first })
  end
  return #ranges > 0 and ranges or nil
end

-- Reads the owners of a range: "vendor-a residential" or "vendor-e - 10000-10999", and several
-- lines where vendors differ by port.
local function claims_of(text)
  local claims = {}
  for vendor, pool, ports in text:gmatch("(%S+) (%S+) ?([%d,-]*)\n") do
    HAS_POOLS = HAS_POOLS or pool ~= "-"
    table.insert(claims, {
      vendor = vendor,
      pool = pool ~= "-" and pool or nil,
      ports = port_ranges(ports),
    })
  end
  return claims
end

-- Returns for each IP version a list of levels { length, claims }, longest prefix first. `claims`
-- leads from a range's leading bits to its owners. Ranges of one owner share one table, so 10,000
-- ranges take 10,000 numbers and no tables.
local function build_index(lines)
  local by_length, read = { ipv4 = {}, ipv6 = {} }, 0
  for address, length, owner in lines:gmatch("(%S+)/(%d+) ([^\n]+\n)") do
    length = tonumber(length)
    local number = ipv4_number(address)
    local groups = not number and ipv6_groups(address)
    assert((number and length <= 32) or (groups and length <= 128), "not a range")
    local lengths = number and by_length.ipv4 or by_length.ipv6
    lengths[length] = lengths[length] or {}
    local key = block_key(number, groups, length)
    lengths[length][key] = (lengths[length][key] or "") .. owner
    read = read + 1
  end
  local _, written = lines:gsub("\n", "")
  assert(read > 0 and read == written, "a line that is no range")

  local index, known = { ipv4 = {}, ipv6 = {} }, {}
  for family, lengths in pairs(by_length) do
    for length, owners in pairs(lengths) do
      for key, text in pairs(owners) do
        known[text] = known[text] or claims_of(text)
        owners[key] = known[text]
      end
      table.insert(index[family], { length = length, claims = owners })
    end
    table.sort(index[family], function(a, b)
      return a.length > b.length
    end)
  end
  return index
end

local function has_port(claim, port)
  if not claim.ports then
    return true
  end
  for _, range in ipairs(claim.ports) do
    if port and range[1] <= port and port <= range[2] then
      return true
    end
  end
  return false
end

local function find_claim(index, ip, port) -- of the longest prefix that has the port, or nil
  -- A dual-stack listener may print an IPv4 destination in its mapped form.
  local number = ipv4_number(ip:match("^::ffff:([%d%.]+)$") or ip)
  local groups = not number and ipv6_groups(ip)
  if not number and not groups then
    return nil
  end
  for _, level in ipairs(number and index.ipv4 or index.ipv6) do
    for _, claim in ipairs(level.claims[block_key(number, groups, level.length)] or {}) do
      if has_port(claim, port) then
        return claim
      end
    end
  end
  return nil
end

local function split(address) -- "10.1.0.10:3128" or "[2001:db8::1]:3128" into address and port
  local ip, port = address:match("^%[(.-)%]:(%d+)$")
  if not ip then
    ip, port = address:match("^([^:]+):(%d+)$")
  end
  return ip or address, tonumber(port)
end

local DIGITS = {} -- values of base64's digits, by their bytes
for value = 0, 63 do
  local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  DIGITS[digits:byte(value + 1)] = value
end
local COLON = 58

local DECODED = {} -- bytes of the user name that is being decoded; zeros once it is
for i = 1, MAX_USER + 3 do
  DECODED[i] = 0
end

-- Decodes base64 from `at` into DECODED, and returns the count of bytes before the first colon. It
-- returns nil if there is no colon among the first bytes, or something that is no base64. What is
-- behind the colon is the password, and stays as it is.
local function decode_user(text, at)
  local count = 0
  while count <= MAX_USER do
    local a, b, c, d = text:byte(at, at + 3)
    a, b, c, d = DIGITS[a], DIGITS[b], DIGITS[c], DIGITS[d]
    if not (a and b) then
      return nil
    end
    local byte = a * 4 + math.floor(b / 16)
    if byte == COLON then
      return count
    end
    DECODED[count + 1] = byte

    byte = c and b % 16 * 16 + math.floor(c / 4)
    if not c or byte == COLON then
      return c and count + 1
    end
    DECODED[count + 2] = byte

    byte = d and c % 4 * 64 + d
    if not d or byte == COLON then
      return d and count + 2
    end
    DECODED[count + 3] = byte
    count, at = count + 3, at + 4
  end
  return nil
end

local function user_of(authorization) -- of "Basic dXNlcjpwYXNz", or nil
  local at = authorization:match("^[Bb][Aa][Ss][Ii][Cc][ \t]+()")
  local count = at and decode_user(authorization, at)
  local user = count and count <= MAX_USER and string.char(unpack(DECODED, 1, count))
  for i = 1, count or #DECODED do
    DECODED[i] = 0
  end
  return user
end

local function texts_between_stars(pattern) -- "a*b*" as { "a", "b", "" }
  local texts = {}
  for text in (pattern .. "*"):gmatch("([^*]*)%*") do
    texts[#texts + 1] = text
  end
  return texts
end

-- Whether the first text begins and the last one ends the user name, with the others in their order
-- in between.
local function fits(user, texts)
  local first, last = texts[1], texts[#texts]
  if #texts == 1 then
    return user == first
  end
  if user:find(first, 1, true) ~= 1 then
    return false
  end
  local at = #first + 1
  for i = 2, #texts - 1 do
    local _, stop = user:find(texts[i], at, true)
    if not stop then
      return false
    end
    at = stop + 1
  end
  local tail = #user - #last + 1
  return tail >= at and user:find(last, tail, true) == tail
end

local RANGES = CATALOGUE.ranges
local INDEX = RANGES and build_index(RANGES)
local SOLE_CLAIM = not RANGES and { vendor = CATALOGUE.vendor }
local VERDICTS = CATALOGUE.verdicts
local TARGETS = CATALOGUE.targets
local PRODUCTS = {} -- by vendor, in the stack file's order
for vendor, products in pairs(CATALOGUE.products) do
  PRODUCTS[vendor] = {}
  for i, product in ipairs(products) do
    PRODUCTS[vendor][i] = { name = product.name, texts = texts_between_stars(product.user) }
  end
end
local HAS_PRODUCTS = next(PRODUCTS) ~= nil
local HAS_TARGETS = next(TARGETS) ~= nil
CATALOGUE, RANGES = nil, nil -- lets Lua free the text of the ranges

local HAS_RULES = {} -- by status, of any vendor
for _, rules_by_status in pairs(VERDICTS) do
  for status in pairs(rules_by_status) do
    HAS_RULES[status] = true
  end
end

-- Remembers the answers of `find`. A crawler uses few proxies many times, and most of a look-up's
-- cost is parsing. The memory is bounded, because the crawler chooses the texts.
local function remembering(find)
  local known, count = {}, 0
  return function(text)
    local answer = known[text]
    if answer == nil then
      answer = find(text) or false
      if count >= MAX_REMEMBERED then
        known, count = {}, 0
      end
      known[text] = answer
      count = count + 1
    end
    return answer
  end
end

local claim_of = remembering(function(address)
  return find_claim(INDEX, split(address))
end)

-- Finds the group of "shop.example:443": a host of TARGETS, or a name below one with "*.".
local find_target = remembering(function(authority)
  local host = authority:lower():gsub(":%d+$", ""):gsub("%.$", "")
  local target, dot = TARGETS[host], host:find(".", 1, true)
  while not target and dot do
    target = TARGETS["*" .. host:sub(dot)]
    dot = host:find(".", dot + 1, true)
  end
  return target
end)

local function target_of(authority) -- does not search or remember a text of megabytes
  return #authority <= MAX_AUTHORITY and find_target(authority)
end

-- Returns the vendor's first product whose pattern fits the user name. Nothing is remembered by it.
local function product_of(vendor, headers)
  local products = PRODUCTS[vendor]
  local authorization = products and headers:get("proxy-authorization")
  local user = authorization and user_of(authorization)
  if not user then
    return nil
  end
  for _, product in ipairs(products) do
    if fits(user, product.texts) then
      return product.name
    end
  end
  return nil
end

-- Returns the outcomes of the first rules that fit the answer, to a CONNECT and to any other request.
-- An answer does not tell to which it is. To have the method kept for it would take a hook for each
-- request. Rules are grouped by status and keep the stack file's order.
local function verdicts_of(vendor, headers)
  local tunnel, plain
  local rules = VERDICTS[vendor] and VERDICTS[vendor][headers:get(":status")]
  for _, rule in ipairs(rules or {}) do
    local value = rule.header and headers:get(rule.header)
    if not rule.header or (value and (not rule.contains or value:find(rule.contains, 1, true))) then
      tunnel = tunnel or (rule.kind ~= "plain" and rule.outcome)
      plain = plain or (rule.kind ~= "tunnel" and rule.outcome)
      if tunnel and plain then
        break
      end
    end
  end
  return tunnel, plain
end

-- A hook costs CPU for each request or answer, whatever it does: Envoy finds only those it needs.
if HAS_POOLS or HAS_PRODUCTS or HAS_TARGETS then
  local NEEDS_CLAIM = HAS_POOLS or HAS_PRODUCTS
  local NEEDS_HEADERS = HAS_PRODUCTS or HAS_TARGETS

  function envoy_on_request(handle) -- global because Envoy looks it up by name
    local stream, headers = handle:streamInfo(), NEEDS_HEADERS and handle:headers()
    local claim = NEEDS_CLAIM and (SOLE_CLAIM or claim_of(stream:downstreamLocalAddress()))
    local target = HAS_TARGETS and target_of(headers:get(":authority") or "")
    local pool = claim and (HAS_PRODUCTS and product_of(claim.vendor, headers) or claim.pool)
    if not (pool or target) then
      return
    end

    local metadata = stream:dynamicMetadata()
    if pool then
      metadata:set(NAMESPACE, "proxy_pool", pool)
    end
    if target then
      metadata:set(NAMESPACE, "proxy_target", target)
    end
  end
end

if next(VERDICTS) then
  function envoy_on_response(handle)
    local headers = handle:headers()
    if not HAS_RULES[headers:get(":status")] then
      return
    end

    local stream = handle:streamInfo()
    local claim = SOLE_CLAIM or claim_of(stream:downstreamLocalAddress())
    local tunnel, plain
    if claim then
      tunnel, plain = verdicts_of(claim.vendor, headers)
    end
    if not (tunnel or plain) then
      return
    end

    -- Which of two applies is read by the CEL of components/attribution/outcome.py.
    local metadata = stream:dynamicMetadata()
    if tunnel == plain then
      metadata:set(NAMESPACE, "verdict", plain)
      return
    end
    if tunnel then
      metadata:set(NAMESPACE, "verdict_tunnel", tunnel)
    end
    if plain then
      metadata:set(NAMESPACE, "verdict_plain", plain)
    end
  end
end
