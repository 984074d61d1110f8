-- How much more memory files may take, so that programs keep what they need.
local ffi = require "ffi"
local S = require "system"
local C = ffi.C

local M = {}

local RESERVE = 12 * 1024 * 1024 -- what the kernel, the agent and a few commands need at once
local IN_MEMORY = { [0x01021994] = true, [0x858458f6] = true } -- tmpfs, ramfs

local found = ffi.new "struct statfs"

-- Bytes of memory that files may still take.
function M.room()
  local kibibytes = (S.read_text "/proc/meminfo" or ""):match "MemAvailable:%s+(%d+)"
  return kibibytes and tonumber(kibibytes) * 1024 - RESERVE or math.huge
end

local function look(path) return C.statfs(path, found) == 0 end

-- Whether files below a path lie in memory.
function M.is_kept_in_memory(path) return look(path) and IN_MEMORY[tonumber(found.kind)] or false end

-- Bytes used in the file system of a path.
function M.used(path)
  return look(path) and tonumber(found.blocks - found.free) * tonumber(found.block_size) or 0
end

local function megabytes(bytes) return ("%.1f MB"):format(bytes / 1e6) end

-- Why an open file cannot grow by so many bytes; nil when it can, or when that is not known.
function M.problem(fd, more)
  if C.fstatfs(fd, found) ~= 0 then return nil end
  local room, place = tonumber(found.available) * tonumber(found.block_size), "on its disk"
  if IN_MEMORY[tonumber(found.kind)] then
    room, place = math.max(0, math.min(room, M.room())), "in its memory, where its files lie"
  end
  if more <= room then return nil end
  return ("%s do not fit: there is room for %s %s"):format(megabytes(more), megabytes(room), place)
end

return M
