-- Numbered raw frames to a neighbour and from it, told with the times of this machine's clock.
--
-- luajit - INTERFACE OWN_MAC PEER_MAC RUN COUNT SIZE PEER_SIZE PAUSE_US EACH LATE_US CLOCK_EVERY_US
--
-- It says "ready PID" once it listens. At a signal (USR1) it sends COUNT frames of SIZE bytes, EACH
-- together every PAUSE_US (what it is late by, it makes up for, up to LATE_US), and says "sent FRAMES MICROSECONDS"; at the next it tells what it has
-- received, one line per frame: "NUMBER SENT_AT RECEIVED_AT", or "bad CHECKSUM RECEIVED_AT" for one
-- that was changed on its way; and ends with "end FRAMES_IT_WAS_TOO_SLOW_FOR". Every CLOCK_EVERY_US it
-- says "clock NOW". Times are microseconds. Nothing is written anywhere, no address is needed, and
-- none is changed.
local ffi = require "ffi"
local bit = require "bit"
local C = ffi.C

ffi.cdef [[
typedef struct { long seconds; long nanoseconds; } timespec;
struct pollfd { int fd; short events; short revents; };
typedef struct { unsigned long bits[16]; } sigset_t;
typedef struct { unsigned short family, protocol; int index; unsigned short kind; unsigned char packet, length, address[8]; } sockaddr_ll;
typedef struct __attribute__((packed)) {
  unsigned char target[6], source[6]; unsigned short type;
  unsigned int checksum, run, number; double sent_at;
} probe;
int socket(int, int, int); int bind(int, const void *, unsigned); int setsockopt(int, int, int, const void *, unsigned);
int getsockopt(int, int, int, void *, unsigned *);
long send(int, const void *, unsigned long, int); long recv(int, void *, unsigned long, int); long read(int, void *, unsigned long);
unsigned int if_nametoindex(const char *); int clock_gettime(int, timespec *); int getpid(void);
int ppoll(struct pollfd *, unsigned long, const timespec *, const sigset_t *);
int sigemptyset(sigset_t *); int sigaddset(sigset_t *, int); int sigprocmask(int, const sigset_t *, sigset_t *);
int signalfd(int, const sigset_t *, int); char *strerror(int); int memcmp(const void *, const void *, unsigned long);
]]

local name, own, peer = arg[1], arg[2], arg[3]
local run, count, size, peer_size = tonumber(arg[4]), tonumber(arg[5]), tonumber(arg[6]), tonumber(arg[7])
local pause, each, late = tonumber(arg[8]), tonumber(arg[9]), tonumber(arg[10])
local clock_every = tonumber(arg[11])
local TYPE = 0xB588 -- 0x88B5, for local experiments, as it lies in memory on this processor

local function check(result, what)
  if result < 0 then
    io.stderr:write(what, ": ", ffi.string(C.strerror(ffi.errno())), "\n")
    os.exit(1)
  end
  return result
end

local stamp = ffi.new "timespec"
local function now()
  C.clock_gettime(1, stamp)
  return tonumber(stamp.seconds) * 1e6 + tonumber(stamp.nanoseconds) / 1e3
end

local function say(...)
  io.stdout:write(string.format(...), "\n")
  io.stdout:flush()
end

-- The kernel hands every frame of this type on the interface to us, and to nobody else.
local function listen()
  local fd = check(C.socket(17, 0x80803, TYPE), "cannot open a raw socket") -- close on exec, non-blocking
  local place = ffi.new "sockaddr_ll"
  place.family, place.protocol, place.index = 17, TYPE, C.if_nametoindex(name)
  if place.index == 0 then check(-1, name) end
  local room = ffi.new("int[1]", 32 * 2 ^ 20)
  check(C.setsockopt(fd, 1, 33, room, 4), "cannot make room") -- SO_RCVBUFFORCE
  check(C.bind(fd, place, ffi.sizeof(place)), name)
  return fd
end

-- How many frames this machine was too slow to take: they are none of the link's.
local function overrun(fd)
  local counts, length = ffi.new "unsigned int[2]", ffi.new("unsigned int[1]", 8)
  C.getsockopt(fd, 263, 6, counts, length) -- PACKET_STATISTICS
  return counts[1]
end

local function signals()
  local mask = ffi.new "sigset_t"
  C.sigemptyset(mask)
  C.sigaddset(mask, 10)
  C.sigprocmask(0, mask, nil)
  return check(C.signalfd(-1, mask, 0x80800), "signalfd")
end

local function address(text, into)
  local at = 0
  for byte in text:gmatch "%x%x" do
    into[at] = tonumber(byte, 16)
    at = at + 1
  end
end

-- Of all words behind itself: a single changed bit anywhere is seen.
local WORDS_AT = 18
local function checksum(frame, length)
  local sum, words = 0, ffi.cast("unsigned int *", ffi.cast("char *", frame) + WORDS_AT)
  for index = 0, (length - WORDS_AT) / 4 - 1 do sum = bit.bxor(bit.rol(sum, 1), words[index]) end
  return bit.tobit(sum)
end

local data = ffi.new("char[?]", size)
local frame = ffi.cast("probe *", data)
address(peer, frame.target)
address(own, frame.source)
frame.type, frame.run = TYPE, run
local expected = ffi.new "char[12]" -- how the peer's frames begin
ffi.copy(expected, data + 6, 6)
ffi.copy(expected + 6, data, 6)

local packets, wakes = listen(), signals()
local watched = ffi.new "struct pollfd[2]"
watched[0].fd, watched[0].events = packets, 1
watched[1].fd, watched[1].events = wakes, 1

local buffer = ffi.new "char[65536]"
local got = ffi.cast("probe *", buffer)
local numbers, sent_at, received_at = {}, {}, {}
local function receive()
  while true do
    local length = tonumber(C.recv(packets, buffer, 65536, 0))
    if length < 0 then return end
    local at = now()
    local whole = length == peer_size and checksum(buffer, length) == bit.tobit(got.checksum)
    -- Another run's whole frames are none of ours; a changed one is taken for ours.
    if C.memcmp(buffer, expected, 12) == 0 and (not whole or got.run == run) then
      local place = #numbers + 1
      numbers[place] = whole and got.number or "bad"
      sent_at[place] = whole and got.sent_at or tonumber(got.checksum)
      received_at[place] = at
    end
  end
end

local sent = 0
local function send_some()
  for _ = 1, math.min(each, count - sent) do
    frame.number, frame.sent_at = sent, now()
    frame.checksum = checksum(data, size)
    if C.send(packets, data, size, 0) == size then sent = sent + 1 end
  end
end

local wait = ffi.new "timespec"
local function sleep_until(moment)
  local nap = math.max(0, math.min(moment - now(), 1e6))
  wait.seconds, wait.nanoseconds = math.floor(nap / 1e6), (nap % 1e6) * 1e3
  C.ppoll(watched, 2, wait, nil)
end

local started, due, next_clock = nil, math.huge, now()
local finished = false
say("ready %d", C.getpid())
while not finished do
  sleep_until(math.min(due, next_clock))
  receive()
  local moment = now()
  if moment >= next_clock then
    say("clock %.0f", now())
    next_clock = moment + clock_every
  end
  if C.read(wakes, buffer, 128) > 0 then
    if started then finished = true else started, due = moment, count > 0 and moment or math.huge end
    if count == 0 then say "sent 0 0" end
  end
  if moment >= due then
    send_some()
    due = math.max(due + pause, moment - late)
    if sent == count then
      due = math.huge
      say("sent %d %.0f", sent, now() - started)
    end
  end
end
for place = 1, #numbers do
  local number = numbers[place]
  if number == "bad" then
    io.stdout:write(string.format("bad %.0f %.1f\n", sent_at[place], received_at[place]))
  else
    io.stdout:write(string.format("%d %.1f %.1f\n", number, sent_at[place], received_at[place]))
  end
end
say("end %d", overrun(packets))
