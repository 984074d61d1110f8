-- What the host has asked for: commands, files, the end of the machine. Each by its token, once.
local ffi = require "ffi"
local bit = require "bit"
local S = require "system"
local Port = require "channel"
local C = ffi.C

local Requests = { WINDOW = 262144 }
Requests.__index = Requests

local CREDIT_STEP = 65536
local MOST = 64 -- at once
local REMEMBERED = 4096 -- tokens that will not be taken again
local GRACE = 2

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

local START, NEXT = {}, {}

function Requests:handle(port, verb, token, bytes, length)
  local follow = NEXT[verb]
  if follow then
    local request = self.open[token]
    if request and request.port == port then follow(self, request, bytes, length) end
    return -- of a request that is over: nothing to do
  end
  local start = START[verb]
  if not start then return problem(port, token, "unknown-verb", verb) end
  if token:match "^%w+" ~= self.id then
    return problem(port, token, "stale", "this token was made for another boot or agent")
  end
  if self.seen[token] then return problem(port, token, "duplicate", "this token was used before") end
  self:remember(token)
  if self.count >= MOST then return problem(port, token, "busy", MOST .. " requests are open") end
  start(self, port, token, Requests.fields(bytes, length))
end

function Requests:remember(token)
  self.place = self.place % REMEMBERED + 1
  if self.ring[self.place] then self.seen[self.ring[self.place]] = nil end
  self.ring[self.place], self.seen[token] = token, true
end

function Requests:add(request)
  self.open[request.token] = request
  self.count = self.count + 1
end

function Requests:forget(request)
  self.open[request.token] = nil
  self.count = self.count - 1
end

local function close(holder, name)
  if holder[name] then C.close(holder[name]) end
  holder[name] = nil
end

-- Commands ---------------------------------------------------------------------------------------

local function pipes(wants_input)
  local ends = {}
  if wants_input then
    ends.child_in, ends.input = S.pipe()
  else
    ends.child_in = S.open("/dev/null", S.RDONLY)
  end
  ends.out, ends.child_out = S.pipe()
  ends.err, ends.child_err = S.pipe()
  for _, name in ipairs { "input", "out", "err" } do if ends[name] then S.nonblocking(ends[name]) end end
  return ends
end

START["run"] = function(self, port, token, fields)
  local arguments = fields.arg
  if fields.shell then arguments = { "/bin/sh", "-c", fields.shell } end
  if not arguments[1] then return problem(port, token, "bad-request", "neither arg nor shell is given") end
  local ends = pipes(fields.stdin == "1")
  local pid, why, number = S.spawn(arguments,
    { [0] = ends.child_in, [1] = ends.child_out, [2] = ends.child_err }, fields.cwd, fields.env)
  for _, name in ipairs { "child_in", "child_out", "child_err" } do close(ends, name) end
  if not pid then
    for _, name in ipairs { "input", "out", "err" } do close(ends, name) end
    return problem(port, token, "not-started", why, number)
  end
  local request = {
    kind = "run", port = port, token = token, pid = pid, input = ends.input, pending = {},
    streams = { { verb = "out", fd = ends.out, bytes = 0 }, { verb = "err", fd = ends.err, bytes = 0 } },
    taken = 0, credit = 0, began = S.now(), grace = (tonumber(fields.grace) or GRACE * 1000) / 1000,
    budget = tonumber(fields.window),
  }
  local limit = tonumber(fields.timeout)
  if limit then request.deadline = request.began + limit / 1000 end
  self:add(request)
  self.by_pid[pid] = request
  port:tell("started", token, { pid = pid })
end

function Requests:ended(pid, status, signal)
  local request = self.by_pid[pid]
  if not request then return end -- a child of a request that is over, or a program of our own
  self.by_pid[pid] = nil
  request.ended, request.status, request.signal = true, status, signal
  request.seconds = S.now() - request.began
  if request.reason then C.kill(-pid, S.SIGKILL) end -- what is left of a group that shall end
end

local function stop_group(request, reason, signal, grace)
  if request.ended then return end
  request.reason = request.reason or reason
  request.deadline = nil
  request.kill_at = S.now() + (grace or request.grace)
  C.kill(-request.pid, signal or S.SIGTERM)
end

-- Read a stream and send it on, as long as there is something and the host keeps up.
local function pump(request, stream)
  while stream.fd and not request.port:is_congested() and (not request.budget or request.budget > 0) do
    local room = math.min(Port.PAYLOAD, request.budget or Port.PAYLOAD)
    local length = tonumber(C.read(stream.fd, Port.payload, room))
    if length > 0 then
      stream.bytes = stream.bytes + length
      if request.budget then request.budget = request.budget - length end
      request.port:send_payload(stream.verb, request.token, length)
      if not request.ended then return end -- others shall have their turn
    elseif length < 0 and ffi.errno() == S.EAGAIN then
      stream.drained = request.ended
      return
    else
      close(stream, "fd")
    end
  end
end

function Requests:finish_command(request)
  for _, stream in ipairs(request.streams) do
    -- a program left in the background may write on: read it, so that it never blocks or dies of it
    if stream.fd then self.background[stream.fd] = true end
  end
  close(request, "input")
  self:forget(request)
  if request.silent then return end
  request.port:tell("exit", request.token, {
    status = request.status or "", signal = request.signal or "", reason = request.reason or "exited",
    out = request.streams[1].bytes, err = request.streams[2].bytes, input = request.taken,
    ms = math.floor(request.seconds * 1000),
  })
end

local function give_credit(request, length)
  request.credit = request.credit + length
  if request.credit >= CREDIT_STEP then
    request.port:send("credit", request.token, tostring(request.credit))
    request.credit = 0
  end
end

-- Write what waits to a command's input; a command that does not want it gets no more.
local function feed(request)
  while request.pending[1] do
    local text = request.pending[1]
    local length = request.input and tonumber(C.write(request.input, text, #text)) or -1
    if length < 0 and request.input and ffi.errno() == S.EAGAIN then return end
    if length < 0 then
      close(request, "input")
      length = #text
    else
      request.taken = request.taken + length
    end
    give_credit(request, length)
    if length < #text then
      request.pending[1] = text:sub(length + 1)
    else
      table.remove(request.pending, 1)
    end
  end
  if request.at_end then close(request, "input") end
end

-- Files ------------------------------------------------------------------------------------------

local function give_up(self, request, code, text, number)
  close(request, "file")
  request.hash:close()
  if request.temporary then C.unlink(request.temporary) end
  self:forget(request)
  if not request.silent then problem(request.port, request.token, code, text, number) end
end

local function with_hash(port, token, request)
  local hash, why, number = S.sha256()
  if not hash then
    close(request, "file")
    if request.temporary then C.unlink(request.temporary) end
    problem(port, token, "no-hash", why, number)
    return false
  end
  request.hash, request.bytes = hash, 0
  return true
end

START["put"] = function(self, port, token, fields)
  if not fields.path then return problem(port, token, "bad-request", "no path is given") end
  local temporary = fields.path .. ".part-" .. token:match "%w+$"
  local file, why, number = S.open(temporary, S.WRONLY + S.CREATE + S.EXCLUSIVE, 384) -- 0600
  if not file then return problem(port, token, "file", why, number) end
  local request = {
    kind = "put", port = port, token = token, path = fields.path, temporary = temporary,
    file = file, mode = tonumber(fields.mode or "644", 8) or 420, credit = 0,
  }
  if with_hash(port, token, request) then
    self:add(request)
    port:tell("started", token, {})
  end
end

local function put_bytes(self, request, bytes, length)
  local done = 0
  while done < length do
    local count = tonumber(C.write(request.file, bytes + done, length - done))
    if count < 0 then return give_up(self, request, "file", S.failure()) end
    done = done + count
  end
  request.hash:add(bytes, length)
  request.bytes = request.bytes + length
  give_credit(request, length)
end

local function put_end(self, request, fields)
  local sha256 = request.hash:hex()
  if tonumber(fields.size) ~= request.bytes or fields.sha256 ~= sha256 then
    return give_up(self, request, "corrupt", ("%d bytes with sha256 %s came"):format(request.bytes, sha256))
  end
  if C.fchmod(request.file, request.mode) ~= 0 or C.rename(request.temporary, request.path) ~= 0 then
    return give_up(self, request, "file", S.failure())
  end
  close(request, "file")
  self:forget(request)
  request.port:tell("done", request.token, { size = request.bytes, sha256 = sha256 })
end

START["get"] = function(self, port, token, fields)
  local file, why, number = S.open(fields.path or "", S.RDONLY + S.NONBLOCK)
  if not file then return problem(port, token, "file", why, number) end
  local size = tonumber(C.lseek(file, 0, 2))
  C.lseek(file, 0, 0)
  local request = { kind = "get", port = port, token = token, file = file, budget = tonumber(fields.window) }
  if with_hash(port, token, request) then
    self:add(request)
    port:tell("started", token, { size = math.max(size, 0) })
  end
end

local function get_some(self, request)
  local room = math.min(Port.PAYLOAD, request.budget or Port.PAYLOAD)
  local length = tonumber(C.read(request.file, Port.payload, room))
  if length < 0 then return give_up(self, request, "file", S.failure()) end
  if length > 0 then
    request.hash:add(Port.payload, length)
    request.bytes = request.bytes + length
    if request.budget then request.budget = request.budget - length end
    return request.port:send_payload("out", request.token, length)
  end
  close(request, "file")
  self:forget(request)
  request.port:tell("done", request.token, { size = request.bytes, sha256 = request.hash:hex() })
end

-- What comes for a request that is open -----------------------------------------------------------

NEXT["in"] = function(self, request, bytes, length)
  if request.kind == "put" then return put_bytes(self, request, bytes, length) end
  if request.kind ~= "run" then return end
  request.pending[#request.pending + 1] = ffi.string(bytes, length)
  feed(request)
end

NEXT["eof"] = function(self, request, bytes, length)
  if request.kind == "put" then return put_end(self, request, Requests.fields(bytes, length)) end
  request.at_end = true
  if request.kind == "run" then feed(request) end
end

NEXT["credit"] = function(_, request, bytes, length)
  if request.budget then request.budget = request.budget + (tonumber(ffi.string(bytes, length)) or 0) end
end

-- End another request, on whichever port it came.
START["end"] = function(self, port, token, fields)
  local request = self.open[fields.request or ""]
  if request and request.kind == "run" then
    local grace = tonumber(fields.grace)
    stop_group(request, "ended", tonumber(fields.signal), grace and grace / 1000)
  elseif request then
    give_up(self, request, "ended", "ended by the host")
  end
  port:tell("done", token, { found = request and 1 or 0 })
end

-- Send a signal to a command without ending it.
START["signal"] = function(self, port, token, fields)
  local request, number = self.open[fields.request or ""], tonumber(fields.signal)
  local found = request and request.kind == "run" and number and not request.ended
  if found then C.kill(-request.pid, number) end
  port:tell("done", token, { found = found and 1 or 0 })
end

-- The end of the machine ---------------------------------------------------------------------------

START["halt"] = function(_, port, token, fields)
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

-- The loop ------------------------------------------------------------------------------------------

-- Those who asked on this port are gone: end what runs for them, and say nothing of it.
function Requests:abandon(port)
  for _, request in pairs(self.open) do
    if request.port == port and not request.silent then
      request.silent = true
      if request.kind == "run" then
        for _, stream in ipairs(request.streams) do
          if stream.fd then self.background[stream.fd] = true end
          stream.fd = nil
        end
        close(request, "input")
        stop_group(request, "abandoned")
      else
        give_up(self, request, "abandoned", "")
      end
    end
  end
end

local function can_send(request)
  return not request.port:is_congested() and (not request.budget or request.budget > 0)
end

function Requests:watch_command(request, watch)
  if can_send(request) then
    for _, stream in ipairs(request.streams) do
      if stream.fd then watch(stream.fd, S.POLLIN, function() pump(request, stream) end) end
    end
  end
  if request.input and request.pending[1] then
    watch(request.input, S.POLLOUT, function() feed(request) end)
  end
  return not request.ended and (request.deadline or request.kill_at) or nil
end

-- Name what poll shall watch for the open requests; answers how many seconds it may wait.
function Requests:watch(watch)
  local now, wait = S.now(), nil
  for _, request in pairs(self.open) do
    local limit
    if request.kind == "run" then
      limit = self:watch_command(request, watch)
    elseif request.kind == "get" and can_send(request) then
      limit = now
    end
    if limit then wait = math.min(wait or math.huge, math.max(0, limit - now)) end
  end
  for fd in pairs(self.background) do
    watch(fd, S.POLLIN, function() self:discard(fd) end)
  end
  return wait
end

function Requests:discard(fd)
  local length = tonumber(C.read(fd, Port.payload, Port.PAYLOAD))
  if length > 0 or (length < 0 and ffi.errno() == S.EAGAIN) then return end
  self.background[fd] = nil
  C.close(fd)
end

function Requests:tick_command(request, now)
  if request.deadline and now >= request.deadline then stop_group(request, "timeout") end
  if request.kill_at and now >= request.kill_at and not request.ended then
    C.kill(-request.pid, S.SIGKILL)
    request.kill_at = nil
  end
  if not request.ended then return end
  local whole = true
  for _, stream in ipairs(request.streams) do
    if stream.fd and not stream.drained then pump(request, stream) end
    whole = whole and (stream.fd == nil or stream.drained)
  end
  if whole then self:finish_command(request) end
end

-- After each turn of the loop: time limits, ends, and files on their way.
function Requests:tick()
  local now = S.now()
  for _, request in pairs(self.open) do
    if request.kind == "run" then
      self:tick_command(request, now)
    elseif request.kind == "get" and can_send(request) then
      get_some(self, request)
    end
  end
end

return Requests
