"""What is in the micro image: which files of which packages, their libraries, and labkit's own."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources

from labkit.errors import PackageInvalid
from labkit.micro import elf, modules
from labkit.micro.tree import Node, Tree, file, folder, link, program, with_parents

KERNEL = "linux-image-cloud-amd64"
_KERNEL_PACKAGE = re.compile(r"linux-image-\d\S*-cloud-amd64")
BUSYBOX = "/usr/bin/busybox"
SHELL = "/usr/lib/klibc/bin/mksh"

# package -> what is taken of it: a file, or a folder with a slash at its end
PROGRAMS: dict[str, tuple[str, ...]] = {
    "busybox-static": (BUSYBOX,),
    "dash": ("/usr/bin/dash",),
    "iproute2": (
        *("/usr/bin/ip", "/usr/bin/bridge", "/usr/bin/tc", "/etc/iproute2/", "/usr/lib/tc/"),
    ),
    "iputils-ping": ("/usr/bin/ping",),
    "luajit": ("/usr/bin/luajit",),
    # the shell: as a static program it starts in a sixth of dash's time under emulation, and
    # unlike busybox's it runs the programs in PATH instead of its own
    "mksh": (SHELL,),
    "nuttcp": ("/usr/bin/nuttcp",),
    "tcpdump": ("/usr/bin/tcpdump",),
    "traceroute": ("/usr/bin/traceroute.db",),
}
ROOTS = (*PROGRAMS, KERNEL)

_SETTINGS = {
    "group": "root:x:0:\ntty:x:5:\ntcpdump:x:100:\nnogroup:x:65534:\n",
    "hostname": "micro\n",
    "nsswitch.conf": "hosts: files dns\n",
    "passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "tcpdump:x:100:100::/:/bin/false\n"  # who tcpdump becomes before it writes a file
    "nobody:x:65534:65534::/:/bin/false\n",
    "resolv.conf": "",
    "shells": "/bin/sh\n/bin/ash\n/bin/dash\n",
}

# applets that are no programs of their own, or package managers with nothing to manage
_APPLETS_LEFT_OUT = frozenset({"busybox", "dpkg", "dpkg-deb", "rpm", "linuxrc"})
_NOT_IN_A_GUEST = re.compile(
    r"/usr/share/(doc|man|info|locale|lintian|bug|bash-completion|zsh|perl5|menu|applications)(/|$)"
    r"|/usr/lib/systemd/|/etc/(init\.d|cron\.\w+|logrotate\.d|default)/"
)
_MERGED = (
    *(("/usr/sbin/", "/usr/bin/"), ("/bin/", "/usr/bin/"), ("/sbin/", "/usr/bin/")),
    *(("/lib64/", "/usr/lib64/"), ("/lib/", "/usr/lib/")),
)

# file of labkit/micro/guest -> path in the guest
GUEST = {
    "agent": "/usr/lib/labkit/agent",
    "channel.lua": "/usr/lib/labkit/channel.lua",
    "commands.lua": "/usr/lib/labkit/commands.lua",
    "dhcp": "/usr/lib/labkit/dhcp",
    "files.lua": "/usr/lib/labkit/files.lua",
    "init": "/init",
    "inittab": "/etc/inittab",
    "screen": "/usr/lib/labkit/screen",
    "labkit-setup": "/usr/bin/labkit-setup",
    "memory.lua": "/usr/lib/labkit/memory.lua",
    "profile": "/etc/profile",
    "requests.lua": "/usr/lib/labkit/requests.lua",
    "setup.lua": "/usr/lib/labkit/setup.lua",
    "system.lua": "/usr/lib/labkit/system.lua",
}
_STARTED = frozenset({"agent", "dhcp", "init", "labkit-setup", "screen"})


@dataclass(frozen=True, slots=True)
class Contents:
    """The file system of the image, its kernel, and the packages that gave something to them."""

    tree: Tree
    kernel: bytes
    used: frozenset[str]


@dataclass(slots=True)
class _Shelf:
    """Packages unpacked when first asked for, and the libraries found in them."""

    names: Iterable[str]
    unpack: Callable[[str], Tree]
    opened: dict[str, Tree] = field(default_factory=dict)

    def files(self, name: str) -> Tree:
        """The files of a package at the places they have in the guest."""
        if name not in self.opened:
            files: Tree = {}
            for path, node in self.unpack(name).items():
                # /sbin/x may be a link to /bin/x, which is the same place here
                if node.is_link and files.get(merged(path), node).is_file:
                    continue
                files[merged(path)] = node
            self.opened[name] = files
        return self.opened[name]

    def libraries(self) -> dict[str, tuple[str, str]]:
        """File name of a library -> its package and path; a file goes before a link to it."""
        found: dict[str, tuple[str, str]] = {}
        for name in sorted(self.names):
            if _KERNEL_PACKAGE.fullmatch(name):
                continue
            for path, node in sorted(self.files(name).items()):
                library = posixpath.basename(path)
                is_better = node.is_file or (node.is_link and library not in found)
                if ".so" in library and path.startswith("/usr/lib") and is_better:
                    found[library] = (name, path)
        return found


def merged(path: str) -> str:
    """Where a package's path lies in the guest: all programs are in one folder."""
    for old, new in _MERGED:
        if path.startswith(old):
            return new + path.removeprefix(old)
    return path


def assemble(
    names: Iterable[str], unpack: Callable[[str], Tree], whole: Iterable[str] = ()
) -> Contents:
    """Put the image together from the packages `names`; of those in `whole` all is taken."""
    names, whole = frozenset(names), frozenset(whole)
    shelf = _Shelf(names, unpack)
    kernel_name = _kernel_package(names)
    kernel_files = shelf.files(kernel_name)
    release = kernel_name.removeprefix("linux-image-")
    tree = modules.select(kernel_files, release, whole)
    chosen = {path: node for name in sorted(whole) for path, node in _wanted(shelf.files(name))}
    for name, paths in PROGRAMS.items():
        chosen.update(_taken(name, shelf.files(name), paths))
    libraries, used = _with_libraries(chosen, shelf)
    tree.update({**chosen, **libraries})
    tree.update(_skeleton(chosen[BUSYBOX].data, tree))
    wrapper = kernel_files.get(f"/boot/vmlinuz-{release}", Node(0)).data
    try:
        kernel = elf.kernel(wrapper)
    except ValueError as error:
        raise PackageInvalid(
            f"cannot take the kernel out of {kernel_name}",
            why=str(error),
            fix="Build with the lock file that comes with labkit, without refresh.",
            package=kernel_name,
        ) from error
    return Contents(with_parents(tree), kernel, frozenset({kernel_name, *PROGRAMS, *whole, *used}))


def guest_files() -> dict[str, bytes]:
    """labkit's own files by their path in the guest."""
    source = resources.files(__package__).joinpath("guest")
    return {path: source.joinpath(name).read_bytes() for name, path in GUEST.items()}


def applets(busybox: bytes) -> list[str]:
    """The names of the programs that are in busybox, as its sorted table lists them."""
    start = busybox.find(b"\0[\0[[\0") + 1
    found: list[str] = []
    while start:
        end = busybox.index(b"\0", start)
        name = busybox[start:end].decode("ascii", "replace")
        if found and name <= found[-1]:
            break
        found.append(name)
        start = end + 1
    return [name for name in found if name not in _APPLETS_LEFT_OUT]


def _kernel_package(names: Iterable[str]) -> str:
    for name in sorted(names):
        if _KERNEL_PACKAGE.fullmatch(name):
            return name
    raise PackageInvalid(
        "the packages have no kernel",
        why=f"none is named like the kernels {KERNEL} stands for",
        fix="Write the lock file again with refresh.",
    )


def _wanted(files: Tree) -> Iterator[tuple[str, Node]]:
    for path, node in files.items():
        if not node.is_folder and not _NOT_IN_A_GUEST.search(path):
            yield path, node


def _taken(name: str, files: Tree, paths: Iterable[str]) -> Tree:
    taken: Tree = {}
    for path in paths:
        if path.endswith("/"):
            inside = {one: node for one, node in files.items() if one.startswith(path)}
            taken.update({one: node for one, node in inside.items() if not one.endswith(".so")})
        elif path in files:
            taken[path] = files[path]
        else:
            raise PackageInvalid(
                f"the package {name} has no {path}",
                why="it is not the version labkit was made for",
                fix="Build with the lock file that comes with labkit, without refresh.",
                package=name,
            )
    return taken


def _with_libraries(chosen: Tree, shelf: _Shelf) -> tuple[Tree, set[str]]:
    """The libraries that programs among `chosen` need, and the packages they came from."""
    available = shelf.libraries()
    found: Tree = {}
    used: set[str] = set()
    todo = [name for path, node in chosen.items() for name in _asked(path, node, available)]
    seen: set[str] = set()
    while todo:
        library = todo.pop()
        if library in seen:
            continue
        seen.add(library)
        if library not in available:
            raise PackageInvalid(
                f"a program of the image needs the library {library}",
                why="none of the packages it is made of has it",
                fix="Add the Debian package that has it with --add (apt-file search "
                f"{library} tells its name), or take the newest packages with --refresh.",
                library=library,
            )
        package, path = available[library]
        node = _follow(library, available, shelf)
        used.add(package)
        place = "/usr/lib64" if library.startswith("ld-linux") else posixpath.dirname(path)
        if f"{place}/{library}" not in chosen:  # a whole package has it, and what it links to
            found[f"{place}/{library}"] = program(node.data)
        todo.extend(elf.needed(node.data))
    return found, used


def _asked(path: str, node: Node, available: Container[str]) -> list[str]:
    """The libraries a file asks for; a plugin, as in Debian, may ask for one of a package that its
    own only suggests (tc's for ATM, say): without it the plugin is of no use, and all else is."""
    asked = elf.needed(node.data) if node.is_file else []
    is_plugin = ".so" in posixpath.basename(path)
    return [name for name in asked if name in available or not is_plugin]


def _follow(library: str, available: Mapping[str, tuple[str, str]], shelf: _Shelf) -> Node:
    """The file a library's name leads to, by way of links."""
    for _step in range(8):
        package, path = available[library]
        node = shelf.files(package)[path]
        if not node.is_link:
            return node
        library = posixpath.basename(node.data.decode())
        if library not in available:
            break
    raise PackageInvalid(
        f"the library {library} leads nowhere",
        why="its link has no target in the packages",
        fix="Write the lock file again with refresh.",
        library=library,
    )


def _skeleton(busybox: bytes, tree: Tree) -> Tree:
    """Folders, links to busybox where no other program is, and labkit's own files."""
    own: Tree = {f"/{name}": folder() for name in ("dev", "mnt", "proc", "run", "sys")}
    own["/tmp"] = folder(0o1777)
    own["/root"] = folder(0o700)
    own["/var/log"] = own["/usr/local/bin"] = folder()
    for old, new in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib")):
        own[f"/{old}"] = link(new)
    own |= {"/lib64": link("usr/lib64"), "/usr/sbin": link("bin")}
    own |= {"/var/run": link("/run"), "/var/tmp": link("/tmp"), "/etc/mtab": link("/proc/mounts")}
    own |= {
        f"/usr/bin/{name}": link("busybox")
        for name in applets(busybox)
        if f"/usr/bin/{name}" not in tree
    }
    own |= {"/usr/bin/mksh": link(SHELL), "/usr/bin/sh": link("mksh")}
    for name in ("traceroute", "traceroute6"):
        own[f"/usr/bin/{name}"] = link("traceroute.db")
    own |= {f"/etc/{name}": file(text) for name, text in _SETTINGS.items()}
    for path, content in guest_files().items():
        started = posixpath.basename(path) in _STARTED
        own[path] = program(content) if started else file(content)
    return own
