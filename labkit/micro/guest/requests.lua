-- What the host has asked for, each by its token and each once; requests run side by side.
local ffi = require "ffi"
local S = require "system"
local Port = require "channel"
local Command = require "commands"
local files = require "files"
local C = ffi.C

local Requests = { WINDOW = 262144 }
Requests.__index = Requests

local MOST = 64 -- at once
local REMEMBERED = 4096 -- tokens that will not be taken again
local CLASSES = { run = Command, put = files.Upload, get = files.Download }
local FOLLOWING = { ["in"] = true, eof = true, credit = true } -- for a request that is open

function Requests.new(id)
  return setmetatable({
    id = id, open = {}, count = 0, by_pid = {}, background = {},
    seen = {}, ring = {}, place = 0,
  }, Requests)
end

-- Fields of a payload; `arg` and `env` may come several times and are lists.
function Requests.fields(bytes, length)
  local fields = { arg = {}, env = {} }
  for name, value in ffi.string(bytes, length):gmatch "([^=%z]+)=([^%z]*)%z" do
    if name == "arg" or name == "env" then
      table.insert(fields[name], value)
    else
      fields[name] = value
    end
  end
  return fields
end

local function problem(port, token, code, text, number)
  port:tell("problem", token, { code = code, text = text or "", errno = number or 0 })
end

function Requests:handle(port, verb, token, bytes, length)
  if FOLLOWING[verb] then
    local request = self.open[token]
    if request and request.port == port then self:follow(request, verb, bytes, length) end
    return -- else it is over: nothing to do
  end
  if token:match "^%w+" ~= self.id then
    return problem(port, token, "stale", "this token was made for another boot or agent")
  end
  if self.seen[token] then return problem(port, token, "duplicate", "this token was used before") end
  self:remember(token)
  local fields = Requests.fields(bytes, length)
  if CLASSES[verb] then return self:start(CLASSES[verb], port, token, fields) end
  if verb == "end" then return self:stop(port, token, fields) end
  if verb == "signal" then return self:signal(port, token, fields) end
  if verb == "resize" then return self:resize(port, token, fields) end
  if verb == "halt" then return self:halt(port, token, fields) end
  problem(port, token, "unknown-verb", verb)
end

function Requests:remember(token)
  self.place = self.place % REMEMBERED + 1
  if self.ring[self.place] then self.seen[self.ring[self.place]] = nil end
  self.ring[self.place], self.seen[token] = token, true
end

function Requests:start(class, port, token, fields)
  if self.count >= MOST then return problem(port, token, "busy", MOST .. " requests are open") end
  local request, code, text, number = class.start(port, token, fields)
  if not request then return problem(port, token, code, text, number) end
  self.open[token] = request
  self.count = self.count + 1
  if request.pid then self.by_pid[request.pid] = request end
end

function Requests:follow(request, verb, bytes, length)
  if verb == "credit" then
    local more = tonumber(ffi.string(bytes, length))
    if request.budget and more then request.budget = request.budget + more end
  elseif request.over or not request.take then return
  elseif verb == "in" then request:take(bytes, length)
  else request:take_end(Requests.fields(bytes, length)) end
end

-- End another request, on whichever port it came.
function Requests:stop(port, token, fields)
  local request = self.open[fields.request or ""]
  if request then request:stop("ended", tonumber(fields.signal), tonumber(fields.grace)) end
  port:tell("done", token, { found = request and 1 or 0 })
end

-- Send a signal to a command without ending it.
function Requests:signal(port, token, fields)
  local request, number = self.open[fields.request or ""], tonumber(fields.signal)
  local found = request and request.signal_group and number and request:signal_group(number)
  port:tell("done", token, { found = found and 1 or 0 })
end

-- Tell a command's terminal its size.
function Requests:resize(port, token, fields)
  local request = self.open[fields.request or ""]
  local columns, rows = tonumber(fields.columns), tonumber(fields.rows)
  local found = request and request.resize and columns and rows and request:resize(columns, rows)
  port:tell("done", token, { found = found and 1 or 0 })
end

-- The end of the machine: programs end, file systems are written, then power off or reset.
function Requests:halt(port, token, fields)
  local action = fields.how == "reboot" and 0x01234567 or 0x4321fedc
  port:tell("done", token, {})
  C.kill(-1, S.SIGTERM)
  local limit = S.now() + (tonumber(fields.grace) or 500) / 1000
  repeat -- until nothing but init, the kernel's threads and this program are left
    S.sleep(0.02)
    while S.ended_child() do end
  until S.now() >= limit or not S.others_live()
  C.sync()
  S.write_text("/proc/sysrq-trigger", "u") -- file systems read-only: nothing is left half written
  C.reboot(action)
end

-- A child has ended. It may be of a request that is over, or a program of our own.
function Requests:ended(pid, status, signal)
  local request = self.by_pid[pid]
  self.by_pid[pid] = nil
  if request then request:ended_with(status, signal) end
end

-- Those who asked on this port are gone.
function Requests:abandon(port)
  for _, request in pairs(self.open) do
    if request.port == port and not request.silent then request:abandon(self.background) end
  end
end

function Requests:discard(fd)
  local length = tonumber(C.read(fd, Port.payload, Port.PAYLOAD))
  if length > 0 or (length < 0 and ffi.errno() == S.EAGAIN) then return end
  self.background[fd] = nil
  C.close(fd)
end

-- Name what poll shall watch for the open requests; answers how many seconds it may wait.
function Requests:watch(watch)
  local now, wait = S.now(), nil
  for _, request in pairs(self.open) do
    local limit = request:watch(watch, now)
    if limit then wait = math.min(wait or math.huge, math.max(0, limit - now)) end
  end
  for fd in pairs(self.background) do
    watch(fd, S.POLLIN, function() self:discard(fd) end)
  end
  return wait
end

-- After each turn of the loop: time limits, ends, and files on their way.
function Requests:tick()
  local now = S.now()
  for token, request in pairs(self.open) do
    if request:tick(now) then
      if request.finish then request:finish(self.background) end
      self.open[token] = nil
      self.count = self.count - 1
    end
  end
end

return Requests
