"""The seed of a system without labkit's agent: its settings, as cloud-init's NoCloud wants them.

Three texts on a small read-only disk labelled ``cidata``: user-data, meta-data, network-config.
Systems with cloud-init (Ubuntu, Debian and other cloud images) read all three; cirros reads
meta-data, and runs user-data where it is a script.
"""

from __future__ import annotations

import base64
import ipaddress
from typing import Any

import yaml

from labkit import rules
from labkit.flavors import Dialect
from labkit.model import INTERNET_GATEWAY, INTERNET_NETWORK
from labkit.programs import iso9660, seed_script
from labkit.programs.qemu import NAME_SERVER
from labkit.promise import GuestSpec
from labkit.wish import FileWish, Route
from labkit.wish.addresses import Network, network_of

LABEL = "cidata"
# For the image's own user, on the console only: its ssh takes no passwords.
CONSOLE_PASSWORD = "labkit"
EACH_BOOT = "/var/lib/cloud/scripts/per-boot/labkit"
SYSCTL_FILE = "/etc/sysctl.d/90-labkit.conf"
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
_INTERNET_PREFIX = ipaddress.ip_network(INTERNET_NETWORK).prefixlen
_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def seed_iso(guest: GuestSpec, instance_id: str, *, dialect: Dialect = "cloud-config") -> bytes:
    """The seed disk; the same settings give the same bytes.

    A guest takes the settings when `instance_id` is not the one it knows. `dialect` is how
    user-data is written: "script" for systems that have no cloud-init, such as cirros.
    """
    for file in guest.files:
        if file.data is None:
            rules.invalid("files", file.path, "files whose content has been read")
    text = user_data(guest) if dialect == "cloud-config" else seed_script.script(guest)
    files = {
        "meta-data": meta_data(guest, instance_id),
        "network-config": network_config(guest),
        "user-data": text,
    }
    return iso9660.image(LABEL, {name: text.encode() for name, text in files.items()})


def meta_data(guest: GuestSpec, instance_id: str) -> str:
    """Who it is."""
    return _yaml({"instance-id": instance_id, "local-hostname": guest.name})


def user_data(guest: GuestSpec) -> str:
    """What cloud-init shall do besides the network."""
    forwarding = [f"{name}={int(guest.forwarding)}" for name in FORWARDING]
    files = [
        _text_file("/etc/hosts", seed_script.hosts_text(guest), 0o644),
        _text_file(SYSCTL_FILE, "".join(f"{line}\n" for line in forwarding), 0o644),
        *map(_file, guest.files),
    ]
    if guest.commands:
        lines = "".join(f"{command}\n" for command in guest.commands)
        files.append(_text_file(EACH_BOOT, f"#!/bin/sh\n{lines}", 0o755))
    document = {
        "hostname": guest.name,
        "preserve_hostname": False,
        "manage_etc_hosts": False,
        "ssh_pwauth": False,
        "password": CONSOLE_PASSWORD,
        "chpasswd": {"expire": False},
        "bootcmd": [["sysctl", "-q", "-w", *forwarding]],
        "write_files": files,
    }
    return f"#cloud-config\n{_yaml(document)}"


def network_config(guest: GuestSpec) -> str:
    """Its interfaces by their MAC, in version 2 of cloud-init's network configuration."""
    ethernets = {name: _ethernet(guest, name, mac) for name, mac in guest.macs}
    return _yaml({"version": 2, "ethernets": ethernets})


def _ethernet(guest: GuestSpec, name: str, mac: str) -> dict[str, Any]:
    addresses = [address for interface, address in guest.addresses if interface == name]
    networks = [network_of(address) for address in addresses]
    routes = [_route(route) for route in guest.routes if _is_in(route.via, networks)]
    config: dict[str, Any] = {
        "match": {"macaddress": mac},
        "set-name": name,
        "dhcp4": False,
        "dhcp6": False,
        "optional": True,  # the system's start does not wait for a cable
    }
    if name == "eth0" and guest.internet is not None:
        addresses.append(f"{guest.internet}/{_INTERNET_PREFIX}")
        if seed_script.leaves_by_internet(guest):
            routes.append({"to": _EVERYWHERE[4], "via": INTERNET_GATEWAY})
        config["nameservers"] = {"addresses": [NAME_SERVER]}
    if addresses:
        config["addresses"] = addresses
    if routes:
        config["routes"] = routes
    return config


def _is_in(address: str, networks: list[Network]) -> bool:
    return any(ipaddress.ip_address(address) in network for network in networks)


def _route(route: Route) -> dict[str, str]:
    everywhere = _EVERYWHERE[6 if ":" in route.via else 4]
    to = everywhere if route.destination == "default" else route.destination
    return {"to": to, "via": route.via}


def _file(file: FileWish) -> dict[str, Any]:
    assert file.data is not None  # seeds are made of files that were read
    text = base64.b64encode(file.data).decode()
    permissions = f"{file.mode:04o}"
    return {"path": file.path, "permissions": permissions, "encoding": "b64", "content": text}


def _text_file(path: str, text: str, mode: int) -> dict[str, Any]:
    return {"path": path, "permissions": f"{mode:04o}", "content": text}


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=2**31)
