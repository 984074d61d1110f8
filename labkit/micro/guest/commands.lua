-- Commands: programs that the host has started, their streams and their time limits.
local ffi = require "ffi"
local S = require "system"
local Port = require "channel"
local C = ffi.C

local CREDIT_STEP = 65536
local GRACE = 2000 -- ms between the signal and KILL

local Command = {}
Command.__index = Command

local function close(holder, name)
  if holder[name] then C.close(holder[name]) end
  holder[name] = nil
end

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

-- Like pipes, of a terminal: one stream, and what is typed.
local function terminal(fields)
  local master, path, number = S.terminal(tonumber(fields.columns) or 80, tonumber(fields.rows) or 24)
  if not master then return nil, path, number end
  return { out = master, input = S.duplicate(master), terminal = path }
end

-- Start what the fields say; answers nil, code, text, error number when it cannot be started.
function Command.start(port, token, fields)
  local arguments = fields.arg
  if fields.shell then arguments = { "/bin/sh", "-c", fields.shell } end
  if not arguments[1] then return nil, "bad-request", "neither arg nor shell is given" end
  local ends, pid, why, number
  if fields.pty == "1" then ends, why, number = terminal(fields) else ends = pipes(fields.stdin == "1") end
  if not ends then return nil, "not-started", why, number end
  pid, why, number = S.spawn(arguments, {
    [0] = ends.child_in, [1] = ends.child_out, [2] = ends.child_err, terminal = ends.terminal,
  }, fields.cwd, fields.env)
  for _, name in ipairs { "child_in", "child_out", "child_err" } do close(ends, name) end
  if not pid then
    for _, name in ipairs { "input", "out", "err" } do close(ends, name) end
    return nil, "not-started", why, number
  end
  local began, limit = S.now(), tonumber(fields.timeout)
  port:tell("started", token, { pid = pid, terminal = ends.terminal or "" })
  return setmetatable({
    port = port, token = token, pid = pid, terminal = ends.terminal, input = ends.input, pending = {},
    streams = { { verb = "out", fd = ends.out, bytes = 0 }, { verb = "err", fd = ends.err, bytes = 0 } },
    taken = 0, credit = 0, budget = tonumber(fields.window), began = began,
    grace = tonumber(fields.grace) or GRACE, deadline = limit and began + limit / 1000,
  }, Command)
end

-- The program has ended; others of its group may live on, unless it was told to end.
function Command:ended_with(status, signal)
  self.ended, self.status, self.signal = true, status, signal
  self.seconds = S.now() - self.began
  if self.reason then C.kill(-self.pid, S.SIGKILL) end
end

function Command:stop(reason, signal, grace)
  if self.ended then return end
  self.reason = self.reason or reason
  self.deadline = nil
  self.kill_at = S.now() + (grace or self.grace) / 1000
  -- The shell of a terminal ignores TERM; it ends when the line is hung up, and so do its jobs.
  C.kill(-self.pid, signal or (self.terminal and S.SIGHUP) or S.SIGTERM)
end

-- Its terminal has another size: who runs in it is told by the kernel.
function Command:resize(columns, rows)
  if not self.terminal or not self.input then return false end
  return S.set_size(self.input, columns, rows)
end

function Command:signal_group(number)
  if self.ended then return false end
  C.kill(-self.pid, number)
  return true
end

local function may_send(self)
  return not self.port:is_congested() and (not self.budget or self.budget > 0)
end

-- Read a stream and send it on, as long as there is something and the host keeps up.
local function pump(self, stream)
  while stream.fd and may_send(self) do
    local room = math.min(Port.PAYLOAD, self.budget or Port.PAYLOAD)
    local length = tonumber(C.read(stream.fd, Port.payload, room))
    if length > 0 then
      stream.bytes = stream.bytes + length
      if self.budget then self.budget = self.budget - length end
      self.port:send_payload(stream.verb, self.token, length)
      if not self.ended then return end -- others shall have their turn
    elseif length < 0 and ffi.errno() == S.EAGAIN then
      stream.drained = self.ended
      return
    else
      close(stream, "fd")
    end
  end
end

local function give_credit(self, length)
  self.credit = self.credit + length
  if self.credit >= CREDIT_STEP then
    self.port:send("credit", self.token, tostring(self.credit))
    self.credit = 0
  end
end

-- Write what waits to the command's input; a command that does not want it gets no more.
local function feed(self)
  while self.pending[1] do
    local text = self.pending[1]
    local length = self.input and tonumber(C.write(self.input, text, #text)) or -1
    if length < 0 and self.input and ffi.errno() == S.EAGAIN then return end
    if length < 0 then
      close(self, "input")
      length = #text
    else
      self.taken = self.taken + length
    end
    give_credit(self, length)
    if length < #text then
      self.pending[1] = text:sub(length + 1)
    else
      table.remove(self.pending, 1)
    end
  end
  if self.at_end then close(self, "input") end
end

function Command:take(bytes, length)
  self.pending[#self.pending + 1] = ffi.string(bytes, length)
  feed(self)
end

function Command:take_end()
  if self.terminal then -- what a person types to end their input
    self.pending[#self.pending + 1] = "\4"
  else
    self.at_end = true
  end
  feed(self)
end

-- Those who asked are gone: end it, and say nothing of it. Its streams go to `background`.
function Command:abandon(background)
  self.silent = true
  self:leave_streams(background)
  close(self, "input")
  self:stop "abandoned"
end

-- Programs left in the background may write on: what they write is read and dropped, so that they
-- never block or die of it.
function Command:leave_streams(background)
  for _, stream in ipairs(self.streams) do
    if stream.fd then background[stream.fd] = true end
    stream.fd = nil
  end
end

-- Name what poll shall watch; answers when to come again at the latest.
function Command:watch(watch)
  if may_send(self) then
    for _, stream in ipairs(self.streams) do
      if stream.fd then watch(stream.fd, S.POLLIN, function() pump(self, stream) end) end
    end
  end
  if self.input and self.pending[1] then
    watch(self.input, S.POLLOUT, function() feed(self) end)
  end
  return not self.ended and (self.deadline or self.kill_at) or nil
end

-- Time limits and the end; answers true when it is over and all has been sent.
function Command:tick(now)
  if self.deadline and now >= self.deadline then self:stop "timeout" end
  if self.kill_at and now >= self.kill_at and not self.ended then
    C.kill(-self.pid, S.SIGKILL)
    self.kill_at = nil
  end
  if not self.ended then return false end
  for _, stream in ipairs(self.streams) do
    if stream.fd and not stream.drained then pump(self, stream) end
    if stream.fd and not stream.drained then return false end
  end
  return true
end

function Command:finish(background)
  local out, err = self.streams[1].bytes, self.streams[2].bytes
  self:leave_streams(background)
  close(self, "input")
  if self.silent then return end
  self.port:tell("exit", self.token, {
    status = self.status or "", signal = self.signal or "", reason = self.reason or "exited",
    out = out, err = err, input = self.taken, ms = math.floor(self.seconds * 1000),
  })
end

return Command
