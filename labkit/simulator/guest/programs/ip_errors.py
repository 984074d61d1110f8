"""What the objects of ``ip`` share: errors, reading words, matching commands."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import NoReturn

from labkit.simulator.net.interfaces import AnyInterface, Interface
from labkit.simulator.net.routes import DEFAULT4, DEFAULT6, Network
from labkit.simulator.net.stack import Stack
from labkit.simulator.net.wire import Address


class IpError(Exception):
    """The command is refused: what standard error says, and the status."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def kernel(words: str) -> NoReturn:
    """The kernel refuses."""
    raise IpError(f"RTNETLINK answers: {words}", 2)


def verb(words: list[str], known: tuple[str, ...], what: str) -> str:
    """The command of an object; shows when there is none. Commands may be cut short."""
    if not words:
        return "show"
    word = words.pop(0)
    for name in known:
        if name.startswith(word):
            return "show" if name in ("list", "lst") else name
    raise IpError(f'Command "{word}" is unknown, try "ip {what} help".', 255)


def following(words: list[str]) -> str:
    """The word that belongs to the one before."""
    if not words:
        raise IpError('Command line is not complete. Try option "help"', 255)
    return words.pop(0)


def device(net: Stack, name: str, *, shows: bool = False) -> Interface:
    found = net.interface(name)
    if found is None:
        words = f'Device "{name}" does not exist.' if shows else f'Cannot find device "{name}"'
        raise IpError(words, 1)
    return found


def interface_of(text: str, family: int) -> AnyInterface:
    try:
        value = ip_interface(text)
    except ValueError:
        kind = {4: "inet", 6: "inet6"}.get(family, "any valid")
        raise IpError(f'Error: {kind} prefix is expected rather than "{text}".', 1) from None
    return value


def address_of(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        words = f'Error: any valid address is expected rather than "{text}".'
        raise IpError(words, 1) from None


def network_of(text: str, family: int) -> Network:
    if text == "default":
        return DEFAULT6 if family == 6 else DEFAULT4
    try:
        return ip_network(text)
    except ValueError:
        words = f'Error: any valid prefix is expected rather than "{text}".'
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise IpError(words, 1) from None
    raise IpError("Error: Invalid prefix for given prefix length.", 2)


def number_of(text: str, what: str) -> int:
    if not text.isdigit():
        raise IpError(f'Error: argument "{text}" is wrong: invalid "{what}" value', 255)
    return int(text)


def brief_width(text: str) -> str:
    """A column of the brief forms."""
    return f"{text:<16} "
