-- What a machine is: its name, interfaces, addresses, routes and hosts, read from lines of text.
local S = require "system"
local M = {}

-- The text as a table; a line that is not understood is told and left out.
function M.parse(text)
  local wish = { nics = {}, batch = {}, hosts = {}, dhcp = {}, nameservers = {} }
  for line in text:gmatch "[^\r\n]+" do
    local verb, rest = line:match "^%s*(%S+)%s*(.-)%s*$"
    local first, second = (rest or ""):match "^(%S+)%s*(.*)$"
    if not verb or verb:sub(1, 1) == "#" then -- an empty line or a remark
    elseif verb == "hostname" and first then wish.hostname = first
    elseif verb == "nic" and second ~= "" and #first < 16 then
      wish.nics[#wish.nics + 1] = { name = first, mac = second:lower() }
    elseif verb == "address" and second ~= "" then
      wish.batch[#wish.batch + 1] = ("address replace %s dev %s"):format(second, first)
    elseif verb == "route" and second ~= "" then
      wish.batch[#wish.batch + 1] = "route replace " .. rest
    elseif verb == "dhcp" and first then wish.dhcp[#wish.dhcp + 1] = first
    elseif verb == "nameserver" and first then wish.nameservers[#wish.nameservers + 1] = first
    elseif verb == "host" and second ~= "" then wish.hosts[#wish.hosts + 1] = first .. "\t" .. second
    elseif verb == "forwarding" and (first == "on" or first == "off") then wish.forwarding = first
    else S.say("not understood in the setup: " .. line) end
  end
  return wish
end

-- Interfaces come in any order and the kernel numbers them as they come: find each by its MAC
-- address and name them in two passes, as a name may still be another one's in the first.
local function name_interfaces(nics, wait)
  local limit, present = S.now() + wait
  local function all_there()
    for _, nic in ipairs(nics) do if not present[nic.mac] then return false end end
    return true
  end
  repeat
    present = S.interfaces()
    local done = all_there() or S.now() >= limit
    if not done then S.sleep(0.01) end
  until done
  local ours, wanted = {}, {}
  for _, nic in ipairs(nics) do
    ours[nic.mac], wanted[nic.name] = true, true
    if not present[nic.mac] then S.say(("interface %s (%s) is missing"):format(nic.name, nic.mac)) end
  end
  local spare = 0
  for mac, current in pairs(present) do
    local aside = ours[mac] and "move" or (wanted[current] and "other")
    if aside and not (ours[mac] and M.is_named(nics, mac, current)) then
      local temporary = aside .. spare
      spare = spare + 1
      S.set_up(current, false)
      if S.rename_interface(current, temporary) then present[mac] = temporary end
    end
  end
  for _, nic in ipairs(nics) do
    local current = present[nic.mac]
    if current and current ~= nic.name and not S.rename_interface(current, nic.name) then
      S.say(("cannot name %s (%s): %s"):format(nic.name, nic.mac, S.failure()))
    elseif current then
      S.set_up(nic.name, true)
    end
  end
end

function M.is_named(nics, mac, current)
  for _, nic in ipairs(nics) do if nic.mac == mac then return nic.name == current end end
end

local function write_files(wish)
  if wish.hostname then
    S.set_hostname(wish.hostname)
    S.write_text("/etc/hostname", wish.hostname .. "\n")
  end
  local name = wish.hostname or (S.read_text "/etc/hostname" or "micro"):match "%S+"
  local hosts = { "127.0.0.1\tlocalhost", "127.0.1.1\t" .. name, "::1\tlocalhost" }
  for _, line in ipairs(wish.hosts) do hosts[#hosts + 1] = line end
  S.write_text("/etc/hosts", table.concat(hosts, "\n") .. "\n")
  local servers = {}
  for _, address in ipairs(wish.nameservers) do servers[#servers + 1] = "nameserver " .. address .. "\n" end
  if #servers > 0 then S.write_text("/etc/resolv.conf", table.concat(servers)) end
end

-- Make the machine what the text says; `wait`: seconds in which interfaces may still appear;
-- `fresh`: this is the boot, and there is nothing to take away first.
function M.apply(text, wait, fresh)
  local wish = M.parse(text)
  write_files(wish)
  name_interfaces(wish.nics, wait)
  if wish.forwarding then
    local value = wish.forwarding == "on" and "1" or "0"
    S.write_text("/proc/sys/net/ipv4/ip_forward", value)
    S.write_text("/proc/sys/net/ipv6/conf/all/forwarding", value)
  end
  local batch = {}
  if not fresh then
    for _, nic in ipairs(wish.nics) do batch[#batch + 1] = "address flush dev " .. nic.name .. " scope global" end
  end
  for _, line in ipairs(wish.batch) do batch[#batch + 1] = line end
  local well = true
  if #batch > 0 then
    well = S.run({ "/bin/ip", "-force", "-batch", "-" }, table.concat(batch, "\n") .. "\n")
    if not well then S.say "an address or a route could not be set; see above" end
  end
  for _, name in ipairs(wish.dhcp) do -- -b: it goes on asking in the background
    S.run { "/bin/udhcpc", "-i", name, "-b", "-t", "3", "-T", "1", "-s", "/usr/lib/labkit/dhcp" }
  end
  return well
end

return M
