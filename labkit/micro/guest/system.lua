-- Calls of the C library and the kernel, so that init and the agent start no program for them.
local ffi = require "ffi"
local bit = require "bit"
local C = ffi.C

-- Variadic calls are declared with plain arguments: Lua numbers would be passed as doubles.
ffi.cdef [[
typedef long ssize_t; typedef unsigned long size_t; typedef int pid_t; typedef unsigned int mode_t;
typedef struct { long seconds; long nanoseconds; } timespec;
struct pollfd { int fd; short events; short revents; };
typedef struct { unsigned long bits[16]; } sigset_t;
typedef struct { char space[128]; } spawn_actions;
typedef struct { char space[512]; } spawn_attributes;
typedef struct { unsigned long inode; long offset; unsigned short length; unsigned char kind; char name[256]; } dirent;
typedef struct { unsigned short rows, columns, width, height; } winsize;
typedef struct { char name[16]; union { char text[24]; short flags; }; } ifreq;
typedef struct { unsigned short family; unsigned char type[14]; unsigned int feature, mask; unsigned char name[64]; } sockaddr_alg;

struct statfs { long kind, block_size, blocks, free, available, files, free_files, id, name_length, fragment, flags, spare[4]; };

int statfs(const char *, struct statfs *); int fstatfs(int, struct statfs *);
int open(const char *, int, int); int close(int); ssize_t read(int, void *, size_t);
ssize_t write(int, const void *, size_t); int pipe2(int *, int); int fcntl(int, int, long);
int poll(struct pollfd *, unsigned long, int); int ioctl(int, unsigned long, void *);
int rename(const char *, const char *); int unlink(const char *); int mkdir(const char *, mode_t);
int fchmod(int, mode_t); int mount(const char *, const char *, const char *, unsigned long, const void *);
void *opendir(const char *); dirent *readdir(void *); int closedir(void *);
pid_t waitpid(pid_t, int *, int); int kill(pid_t, int); pid_t getpid(void);
int sigemptyset(sigset_t *); int sigaddset(sigset_t *, int); long lseek(int, long, int);
int sigprocmask(int, const sigset_t *, sigset_t *); int signalfd(int, const sigset_t *, int);
int posix_spawnp(pid_t *, const char *, const spawn_actions *, const spawn_attributes *, char *const [], char *const []);
int posix_spawn_file_actions_init(spawn_actions *); int posix_spawn_file_actions_destroy(spawn_actions *);
int posix_spawn_file_actions_adddup2(spawn_actions *, int, int);
int posix_spawn_file_actions_addopen(spawn_actions *, int, const char *, int, mode_t);
int posix_spawn_file_actions_addchdir_np(spawn_actions *, const char *);
int posix_spawnattr_init(spawn_attributes *); int posix_spawnattr_setflags(spawn_attributes *, short);
int posix_spawnattr_setsigmask(spawn_attributes *, const sigset_t *);
int execv(const char *, char *const []); int setenv(const char *, const char *, int);
extern char **environ;
int posix_spawnattr_destroy(spawn_attributes *);
int clock_gettime(int, timespec *); int clock_settime(int, const timespec *);
int sethostname(const char *, size_t); int reboot(int); void sync(void); long syscall(long, long, const char *, long);
int socket(int, int, int); int bind(int, const void *, unsigned); int accept4(int, void *, void *, int);
ssize_t send(int, const void *, size_t, int);
char *strerror(int); void *memchr(const void *, int, size_t); void *memmove(void *, const void *, size_t);
]]

local M = { EAGAIN = 11, EINTR = 4, ENOENT = 2, EACCES = 13, EPIPE = 32, ESRCH = 3, ENOSPC = 28 }
M.RDONLY, M.WRONLY, M.RDWR = 0, 1, 2
M.CREATE, M.EXCLUSIVE, M.TRUNCATE, M.NONBLOCK, M.CLOEXEC = 0x40, 0x80, 0x200, 0x800, 0x80000
M.POLLIN, M.POLLOUT, M.POLLERR, M.POLLHUP = 1, 4, 8, 16
M.SIGHUP, M.SIGKILL, M.SIGTERM = 1, 9, 15

-- An error as text and number of the last call.
function M.failure()
  local number = ffi.errno()
  return ffi.string(C.strerror(number)), number
end

function M.reason(number) return ffi.string(C.strerror(number)) end

local clock = ffi.new "timespec"
local function now(kind)
  C.clock_gettime(kind, clock)
  return tonumber(clock.seconds) + tonumber(clock.nanoseconds) / 1e9
end
function M.uptime() return now(7) end -- CLOCK_BOOTTIME: what the ready message counts
function M.now() return now(1) end -- CLOCK_MONOTONIC: for time limits
function M.time() return now(0) end

function M.set_time(seconds)
  local whole = math.floor(seconds)
  return C.clock_settime(0, ffi.new("timespec", whole, (seconds - whole) * 1e9)) == 0
end

function M.open(path, flags, mode)
  local fd = C.open(path, bit.bor(flags, M.CLOEXEC), mode or 0)
  if fd < 0 then return nil, M.failure() end
  return fd
end

function M.read_text(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

function M.write_text(path, text)
  local file, why = io.open(path, "wb")
  if not file then return nil, why end
  local done, problem = file:write(text)
  file:close()
  return done and true, problem
end

function M.names(folder)
  local names, handle = {}, C.opendir(folder)
  if handle == nil then return names end
  while true do
    local entry = C.readdir(handle)
    if entry == nil then break end
    local name = ffi.string(entry.name)
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  C.closedir(handle)
  table.sort(names)
  return names
end

function M.pipe()
  local ends = ffi.new "int[2]"
  if C.pipe2(ends, M.CLOEXEC) ~= 0 then return nil, M.failure() end
  return ends[0], ends[1]
end

-- A terminal: its master's file and the path of its other side; or nil, reason, error number.
local NOCTTY, UNLOCK, NUMBER, SET_SIZE = 0x100, 0x40045431, 0x80045430, 0x5414
function M.terminal(columns, rows)
  local master, why, number = M.open("/dev/ptmx", bit.bor(M.RDWR, M.NONBLOCK, NOCTTY))
  if not master then return nil, why, number end
  local place, off = ffi.new "unsigned int[1]", ffi.new "int[1]"
  if C.ioctl(master, UNLOCK, off) ~= 0 or C.ioctl(master, NUMBER, place) ~= 0 then
    why, number = M.failure()
    C.close(master)
    return nil, why, number
  end
  M.set_size(master, columns, rows)
  return master, "/dev/pts/" .. place[0]
end

function M.set_size(master, columns, rows)
  local size = ffi.new("winsize", rows, columns)
  return C.ioctl(master, SET_SIZE, size) == 0
end

function M.duplicate(fd) return C.fcntl(fd, 1030, 0) end -- F_DUPFD_CLOEXEC

function M.nonblocking(fd) C.fcntl(fd, 4, M.NONBLOCK) end -- F_SETFL

function M.sleep(seconds) C.poll(nil, 0, seconds * 1000) end

-- The folder of the graphics device, or nil.
function M.display()
  for _, name in ipairs(M.names "/sys/bus/pci/devices") do
    local folder = "/sys/bus/pci/devices/" .. name
    if (M.read_text(folder .. "/class") or ""):match "^0x0300" then return folder end
  end
end

-- SIGCHLD as something to poll, SIGPIPE as an error of write; what is spawned has neither blocked.
local no_signals = ffi.new "sigset_t"
C.sigemptyset(no_signals)
function M.watch_children()
  local mask = ffi.new "sigset_t"
  C.sigemptyset(mask)
  C.sigaddset(mask, 13) -- SIGPIPE
  C.sigprocmask(0, mask, nil)
  C.sigemptyset(mask)
  C.sigaddset(mask, 17) -- SIGCHLD
  C.sigprocmask(0, mask, nil)
  return C.signalfd(-1, mask, M.CLOEXEC + M.NONBLOCK)
end

local function strings(list)
  local array = ffi.new("char *[?]", #list + 1)
  for index, text in ipairs(list) do array[index - 1] = ffi.cast("char *", text) end
  array[#list] = nil
  return array
end

-- Start a program as leader of a new session, so that it and its children can be ended as a group.
-- files: {[0] = fd, [1] = fd, [2] = fd}, or { terminal = path }, which it then controls; settings: list of NAME=VALUE set besides our own.
-- Answers its pid, or nil, reason, error number.
function M.spawn(arguments, files, folder, settings)
  local actions, attributes = ffi.new "spawn_actions", ffi.new "spawn_attributes"
  C.posix_spawn_file_actions_init(actions)
  if files.terminal then
    C.posix_spawn_file_actions_addopen(actions, 0, files.terminal, M.RDWR, 0)
    for target = 1, 2 do C.posix_spawn_file_actions_adddup2(actions, 0, target) end
  end
  for target = 0, 2 do
    if files[target] then C.posix_spawn_file_actions_adddup2(actions, files[target], target) end
  end
  C.posix_spawn_file_actions_addchdir_np(actions, folder or "/root")
  C.posix_spawnattr_init(attributes)
  C.posix_spawnattr_setflags(attributes, 0x80 + 0x08) -- SETSID, SETSIGMASK
  C.posix_spawnattr_setsigmask(attributes, no_signals)
  local list, environment, kept = strings(arguments), C.environ, nil
  if settings and #settings > 0 then
    kept = M.environment(settings) -- holds the strings that `environment` points into
    environment = strings(kept)
  end
  local pid = ffi.new "pid_t[1]"
  local number = C.posix_spawnp(pid, arguments[1], actions, attributes, list, environment)
  C.posix_spawn_file_actions_destroy(actions)
  C.posix_spawnattr_destroy(attributes)
  if number ~= 0 then return nil, M.reason(number), number end
  if M.is_spared then M.write_text(("/proc/%d/oom_score_adj"):format(pid[0]), "0") end
  return pid[0]
end

-- When memory runs out, the kernel ends other programs than this one; what it spawns is no exception.
function M.be_spared() M.is_spared = M.write_text("/proc/self/oom_score_adj", "-1000") end

function M.environment(settings)
  local all, changed = {}, {}
  for _, setting in ipairs(settings) do changed[setting:match "^[^=]*"] = true end
  local index = 0
  while C.environ[index] ~= nil do
    local setting = ffi.string(C.environ[index])
    if not changed[setting:match "^[^=]*"] then all[#all + 1] = setting end
    index = index + 1
  end
  for _, setting in ipairs(settings) do all[#all + 1] = setting end
  return all
end

local status = ffi.new "int[1]"
-- A child that has ended: pid, exit status or nil, signal or nil; nil when there is none.
function M.ended_child()
  local pid = C.waitpid(-1, status, 1) -- WNOHANG
  if pid <= 0 then return nil end
  local signal = bit.band(status[0], 0x7f)
  if signal ~= 0 then return pid, nil, signal end
  return pid, bit.band(bit.rshift(status[0], 8), 0xff)
end

-- Run a program to its end with a text as its input; answers whether it went well.
function M.run(arguments, input)
  local reader, writer = M.pipe()
  local pid = M.spawn(arguments, { [0] = reader }, "/")
  C.close(reader)
  if pid then C.write(writer, input or "", #(input or "")) end
  C.close(writer)
  if not pid then return false end
  repeat until C.waitpid(pid, status, 0) == pid or ffi.errno() ~= M.EINTR
  return status[0] == 0
end

-- SHA-256 by the kernel: a few calls, no program.
local Hash = {}
Hash.__index = Hash
function M.sha256()
  local address = ffi.new "sockaddr_alg"
  address.family = 38 -- AF_ALG
  ffi.copy(address.type, "hash")
  ffi.copy(address.name, "sha256")
  local base = C.socket(38, 5 + M.CLOEXEC, 0)
  if base < 0 then return nil, M.failure() end
  local fd = -1
  if C.bind(base, address, ffi.sizeof(address)) == 0 then fd = C.accept4(base, nil, nil, M.CLOEXEC) end
  C.close(base)
  if fd < 0 then return nil, M.failure() end
  return setmetatable({ fd = fd }, Hash)
end

function Hash:add(pointer, length) C.send(self.fd, pointer, length, 0x8000) end -- MSG_MORE

function Hash:close()
  if self.fd then C.close(self.fd) end
  self.fd = nil
end

function Hash:hex()
  local digest = ffi.new "unsigned char[32]"
  C.send(self.fd, digest, 0, 0)
  C.read(self.fd, digest, 32)
  self:close()
  local parts = {}
  for index = 0, 31 do parts[index + 1] = ("%02x"):format(digest[index]) end
  return table.concat(parts)
end

-- Network interfaces by their MAC address in lower case.
function M.interfaces()
  local found = {}
  for _, name in ipairs(M.names "/sys/class/net") do
    local address = M.read_text("/sys/class/net/" .. name .. "/address")
    if address and name ~= "lo" then found[address:match "^%S*"] = name end
  end
  return found
end

local net_socket
local function change(request, data)
  net_socket = net_socket or C.socket(2, 2 + M.CLOEXEC, 0) -- any socket will do for these calls
  return C.ioctl(net_socket, request, data) == 0
end

function M.rename_interface(old, new)
  local data = ffi.new "ifreq"
  ffi.copy(data.name, old)
  ffi.copy(data.text, new)
  return change(0x8923, data)
end

function M.set_up(name, up)
  local data = ffi.new "ifreq"
  ffi.copy(data.name, name)
  if not change(0x8913, data) then return false end
  data.flags = up and bit.bor(data.flags, 1) or bit.band(data.flags, bit.bnot(1))
  return change(0x8914, data)
end

local console
function M.say(text)
  console = console or M.open("/dev/console", M.WRONLY + M.NONBLOCK)
  local line = "labkit: " .. text .. "\r\n"
  if console then C.write(console, line, #line) end
end

function M.set_hostname(name) C.sethostname(name, #name) end

-- Whether programs other than init and this one run; the kernel's threads have no command line.
function M.others_live()
  local own = C.getpid()
  for _, name in ipairs(M.names "/proc") do
    local pid = tonumber(name)
    if pid and pid ~= 1 and pid ~= own and (M.read_text("/proc/" .. name .. "/cmdline") or "") ~= "" then
      return true
    end
  end
  return false
end

-- Become another program.
function M.exec(arguments)
  C.execv(arguments[1], strings(arguments))
  return M.failure()
end

return M
