-- One port of the channel: frames in, frames out, and whether the host is on the line.
local ffi = require "ffi"
local bit = require "bit"
local S = require "system"
local C = ffi.C

local Port = { PAYLOAD = 65536 }
Port.__index = Port

local ROOM = 128 -- for a header in front of a payload
local HEADER_LIMIT = 120
local FRAME = ROOM + Port.PAYLOAD + 1
local frame = ffi.new("char[?]", FRAME) -- where payloads are read to: the header goes in front
Port.payload = frame + ROOM
local probe = ffi.new "struct pollfd[1]"

function Port.new(path)
  local fd, why = S.open(path, S.RDWR + S.NONBLOCK)
  if not fd then return nil, why end
  return setmetatable({
    fd = fd, host = false, lost = false,
    input = ffi.new("char[?]", 2 * FRAME), have = 0,
    queue = {}, first = 1, last = 0,
  }, Port)
end

-- Whether bytes wait for the host to read: whoever produces more should pause.
function Port:is_congested() return self.first <= self.last end

-- Whether the host is on the line.
function Port:look()
  probe[0].fd, probe[0].events, probe[0].revents = self.fd, S.POLLIN, 0
  C.poll(probe, 1, 0)
  return bit.band(probe[0].revents, S.POLLHUP) == 0
end

-- The host has come or left: what was half sent or half read is void.
function Port:set_host(host)
  self.host, self.have, self.lost = host, 0, false
  self.queue, self.first, self.last = {}, 1, 0
end

local function header(verb, token, length) return ("LK %s %s %d\n"):format(verb, token, length) end

function Port:send(verb, token, payload)
  payload = payload or ""
  local text = header(verb, token, #payload) .. payload .. "\n"
  self:write(text, #text)
end

-- Fields as a payload: NAME=VALUE, each ended by a NUL byte.
function Port:tell(verb, token, fields)
  local parts = {}
  for name, value in pairs(fields) do parts[#parts + 1] = name .. "=" .. tostring(value) .. "\0" end
  table.sort(parts)
  self:send(verb, token, table.concat(parts))
end

-- Send what was read to Port.payload, without making a Lua string of it.
function Port:send_payload(verb, token, length)
  local text = header(verb, token, length)
  local start = frame + ROOM - #text
  ffi.copy(start, text, #text)
  frame[ROOM + length] = 10
  self:write(start, #text + length + 1)
end

-- Enough NUL bytes to complete any frame that was cut off; its last byte is then wrong.
function Port:send_filler()
  local text = ("\0"):rep(FRAME)
  self:write(text, #text)
end

function Port:write(data, length)
  if not self.host then return end
  local bytes = ffi.cast("const char *", data)
  local done = 0
  if not self:is_congested() then
    while done < length do
      local count = tonumber(C.write(self.fd, bytes + done, length - done))
      if count <= 0 then break end
      done = done + count
    end
  end
  if done < length then
    self.last = self.last + 1
    self.queue[self.last] = ffi.string(bytes + done, length - done)
  end
end

-- The host has read something: send what waits.
function Port:flush()
  while self:is_congested() do
    local text = self.queue[self.first]
    local count = tonumber(C.write(self.fd, text, #text))
    if count <= 0 then return end
    if count < #text then
      self.queue[self.first] = text:sub(count + 1)
    else
      self.queue[self.first] = nil
      self.first = self.first + 1
    end
  end
end

-- Read what is there and hand each whole frame to handle(verb, token, pointer, length).
function Port:receive(handle)
  while self.have < FRAME do -- the kernel gives a page at a time
    local count = tonumber(C.read(self.fd, self.input + self.have, 2 * FRAME - self.have))
    if count <= 0 then break end
    self.have = self.have + count
  end
  local at = 0
  while true do
    local next_at
    if self.lost then next_at = self:find_hello(at) else next_at = self:take(at, handle) end
    if not next_at then break end
    at = next_at
  end
  at = math.min(self.skipped or at, self.have)
  self.skipped = nil
  if at > 0 then
    self.have = self.have - at
    C.memmove(self.input, self.input + at, self.have)
  end
end

-- Handle the frame at a place; answers where the next one begins, or nil when more must come.
function Port:take(at, handle)
  while at < self.have and (self.input[at] == 0 or self.input[at] == 10) do at = at + 1 end
  self.skipped = at
  local left = math.min(self.have - at, HEADER_LIMIT)
  local stop = left > 0 and C.memchr(self.input + at, 10, left)
  if not stop or stop == nil then
    if left == HEADER_LIMIT then return self:lose(at) end
    return nil
  end
  local start = ffi.cast("char *", stop) + 1 - self.input
  start = tonumber(start)
  local verb, token, digits = ffi.string(self.input + at, start - at - 1):match "^LK (%l+) ([%w%-]+) (%d+)$"
  local length = tonumber(digits)
  if not verb or length > Port.PAYLOAD then return self:lose(at) end
  if self.have < start + length + 1 then return nil end
  if self.input[start + length] ~= 10 then return self:lose(at) end
  handle(verb, token, self.input + start, length)
  self.skipped = start + length + 1
  return self.skipped
end

-- A frame was cut off: nothing is a frame until the host says hello again.
function Port:lose(at)
  self.lost = true
  return at
end

function Port:find_hello(at)
  local text = ffi.string(self.input + at, self.have - at)
  local place = text:find("%zLK hello ")
  if place then
    self.lost = false
    return at + place
  end
  self.skipped = math.max(at, self.have - 16) -- the beginning of a hello may be there
  return nil
end

return Port
