-- Files on their way to the guest (Upload) and from it (Download), with their sha256.
local ffi = require "ffi"
local S = require "system"
local memory = require "memory"
local Port = require "channel"
local C = ffi.C

local CREDIT_STEP = 65536
local LOOK_STEP = 1048576 -- how often it is seen whether there still is room

local function close(holder, name)
  if holder[name] then C.close(holder[name]) end
  holder[name] = nil
end

-- The end of a transfer, good or bad, as a frame; `over` tells the loop to forget it.
local function finish(self, verb, fields)
  close(self, "file")
  self.hash:close()
  if self.temporary then C.unlink(self.temporary) end
  self.over = true
  if not self.silent then self.port:tell(verb, self.token, fields) end
end

local function fail(self, code, text, number)
  finish(self, "problem", { code = code, text = text or "", errno = number or 0 })
end

local Transfer = {}

function Transfer:stop() fail(self, "ended", "ended by the host") end

function Transfer:abandon()
  self.silent = true
  self:stop()
end

local function begin(class, self)
  local hash, why, number = S.sha256()
  if not hash then
    close(self, "file")
    if self.temporary then C.unlink(self.temporary) end
    return nil, "no-hash", why, number
  end
  self.hash, self.bytes, self.credit = hash, 0, 0
  self.port:tell("started", self.token, { size = self.size })
  return setmetatable(self, class)
end

local Upload = setmetatable({}, { __index = Transfer })
Upload.__index = Upload

-- Answers nil, code, text, error number when it cannot begin.
function Upload.start(port, token, fields)
  if not fields.path then return nil, "bad-request", "no path is given" end
  local temporary = fields.path .. ".part-" .. token:match "%w+$"
  local file, why, number = S.open(temporary, S.WRONLY + S.CREATE + S.EXCLUSIVE, 384) -- 0600
  if not file then return nil, "file", why, number end
  local expected = tonumber(fields.size)
  local problem = memory.problem(file, expected or 0)
  if problem then
    C.close(file)
    C.unlink(temporary)
    return nil, "file", problem, S.ENOSPC
  end
  return begin(Upload, {
    port = port, token = token, file = file, path = fields.path, temporary = temporary,
    expected = expected, look_at = LOOK_STEP,
    mode = tonumber(fields.mode or "644", 8) or 420,
  })
end

function Upload:take(bytes, length)
  local done = 0
  while done < length do
    local count = tonumber(C.write(self.file, bytes + done, length - done))
    if count < 0 then return fail(self, "file", S.failure()) end
    done = done + count
  end
  self.hash:add(bytes, length)
  self.bytes = self.bytes + length
  if self.bytes >= self.look_at then
    local rest = self.expected and math.max(0, self.expected - self.bytes) or LOOK_STEP
    local problem = memory.problem(self.file, rest)
    if problem then return fail(self, "file", problem, S.ENOSPC) end
    self.look_at = self.bytes + LOOK_STEP
  end
  self.credit = self.credit + length
  if self.credit >= CREDIT_STEP then
    self.port:send("credit", self.token, tostring(self.credit))
    self.credit = 0
  end
end

function Upload:take_end(fields)
  local sha256 = self.hash:hex()
  if tonumber(fields.size) ~= self.bytes or fields.sha256 ~= sha256 then
    return fail(self, "corrupt", ("%d bytes with sha256 %s came"):format(self.bytes, sha256))
  end
  if C.fchmod(self.file, self.mode) ~= 0 or C.rename(self.temporary, self.path) ~= 0 then
    return fail(self, "file", S.failure())
  end
  self.temporary = nil
  finish(self, "done", { size = self.bytes, sha256 = sha256 })
end

function Upload:watch() return nil end
function Upload:tick() return self.over end

local Download = setmetatable({}, { __index = Transfer })
Download.__index = Download

function Download.start(port, token, fields)
  local file, why, number = S.open(fields.path or "", S.RDONLY + S.NONBLOCK)
  if not file then return nil, "file", why, number end
  local size = tonumber(C.lseek(file, 0, 2))
  C.lseek(file, 0, 0)
  return begin(Download, {
    port = port, token = token, file = file, size = math.max(size, 0), budget = tonumber(fields.window),
  })
end

local function may_send(self)
  return not self.port:is_congested() and (not self.budget or self.budget > 0)
end

-- A file is always ready: come again at once.
function Download:watch(_, now) return may_send(self) and now or nil end

function Download:tick()
  if self.over or not may_send(self) then return self.over end
  local length = tonumber(C.read(self.file, Port.payload, math.min(Port.PAYLOAD, self.budget or Port.PAYLOAD)))
  if length < 0 then
    fail(self, "file", S.failure())
  elseif length == 0 then
    finish(self, "done", { size = self.bytes, sha256 = self.hash:hex() })
  else
    self.hash:add(Port.payload, length)
    self.bytes = self.bytes + length
    if self.budget then self.budget = self.budget - length end
    self.port:send_payload("out", self.token, length)
  end
  return self.over
end

return { Upload = Upload, Download = Download }
