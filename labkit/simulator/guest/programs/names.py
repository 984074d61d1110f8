"""Names of hosts in a simulated guest: /etc/hosts, and no name server that would answer."""

from __future__ import annotations

from ipaddress import ip_address

from labkit.simulator.files import FileTree
from labkit.simulator.net.wire import Address

NOT_RESOLVED = "Temporary failure in name resolution"


def hosts(files: FileTree) -> list[tuple[Address, list[str]]]:
    """The lines of /etc/hosts."""
    found = []
    if files.is_file("/etc/hosts"):
        for line in files.read("/etc/hosts").decode(errors="replace").splitlines():
            words = line.partition("#")[0].split()
            try:
                found.append((ip_address(words[0]), words[1:]))
            except (IndexError, ValueError):
                continue
    return found


def numeric(text: str) -> Address | None:
    """An address that is written as one."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def resolve(files: FileTree, name: str, version: int = 0) -> Address | None:
    """The address of a name or the address that it is; IPv4 first."""
    known = numeric(name)
    if known is not None:
        return known if version in (0, known.version) else None
    found = [ip for ip, names in hosts(files) if name in names and version in (0, ip.version)]
    return min(found, key=lambda ip: ip.version, default=None)


def name_of(files: FileTree, ip: Address) -> str:
    """The first name of an address, or the address."""
    return next((names[0] for known, names in hosts(files) if known == ip and names), str(ip))
