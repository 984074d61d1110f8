"""The kernel's modules: which ones the image has, and in which order they are loaded."""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterable

from labkit.errors import PackageInvalid
from labkit.micro.tree import Tree, file

# loaded at boot, in this order, each after what it needs
BOOT = (
    *("virtio_pci", "virtio_console", "qemu_fw_cfg", "virtio_net", "algif_hash", "virtio_rng"),
    "virtio_blk",
)
# loaded when asked for
ON_DEMAND = (
    *("8021q", "bridge", "dummy", "ip_gre", "ipip", "macvlan", "mpls_router", "mpls_iptunnel"),
    *("mpls_gso", "sit", "tun", "veth", "vrf", "vxlan"),
    *("sch_netem", "sch_tbf", "sch_htb", "sch_ingress", "cls_u32", "act_mirred"),
    *("isofs", "vfat", "nls_cp437", "nls_ascii"),
)
_FILTER = (
    *("nf_tables", "nft_compat", "nft_ct", "nft_nat", "nft_masq", "nft_chain_nat", "nft_limit"),
    *("nft_log", "nft_reject_inet", "xt_conntrack", "xt_MASQUERADE", "xt_nat", "xt_tcpudp"),
    *("nf_log_syslog", "ipt_REJECT", "xt_LOG", "xt_limit"),
)
# added when a user's image has the package that is nothing without them
BY_PACKAGE = {
    "ifenslave": ("bonding",),
    "iptables": _FILTER,
    "nftables": _FILTER,
    "wireguard-tools": ("wireguard",),
}

_SIGNATURE = b"~Module signature appended~\n"
_DEPENDS = re.compile(rb"(?:\A|\0)depends=([^\0]*)\0")
_ALIAS = re.compile(rb"(?<=\0)alias=([^\0]+)\0")


def select(kernel_files: Tree, release: str, add: Iterable[str] = ()) -> Tree:
    """The chosen modules with all that they need, and the lists modprobe and init read.

    `add` are the packages a user's image has besides.
    """
    extra = tuple(name for package in add for name in BY_PACKAGE.get(package, ()))
    contents = {
        _name(path): unsigned(node.data)
        for path, node in kernel_files.items()
        if path.endswith(".ko") and node.is_file
    }
    boot = _in_order(contents, BOOT)
    chosen = sorted({*boot, *_in_order(contents, ON_DEMAND + extra)})
    base = f"/usr/lib/modules/{release}"
    tree = {f"{base}/{name}.ko": file(contents[name]) for name in chosen}
    # loaded by hand at boot, so that no program has to be started for it
    tree["/usr/lib/labkit/modules"] = file("".join(f"{base}/{name}.ko\n" for name in boot))
    tree[f"{base}/modules.dep"] = file(
        "".join(
            f"{name}.ko:{''.join(f' {one}.ko' for one in _needs(contents, name))}\n"
            for name in chosen
        )
    )
    tree[f"{base}/modules.alias"] = file(
        "".join(
            f"alias {alias.decode()} {name}\n"
            for name in chosen
            for alias in _ALIAS.findall(contents[name])
        )
    )
    tree[f"{base}/modules.symbols"] = file("")
    return tree


def unsigned(module: bytes) -> bytes:
    """A module without its signature, which Debian's kernel does not ask for."""
    if not module.endswith(_SIGNATURE):
        return module
    end = len(module) - len(_SIGNATURE)
    (length,) = struct.unpack_from(">I", module, end - 4)
    return module[: end - 12 - length]


def _name(path: str) -> str:
    return posixpath.basename(path).removesuffix(".ko").replace("-", "_")


def _depends(contents: dict[str, bytes], name: str) -> list[str]:
    match = _DEPENDS.search(contents[name])
    names = match[1].decode().split(",") if match and match[1] else []
    return [one.replace("-", "_") for one in names]


def _needs(contents: dict[str, bytes], name: str) -> list[str]:
    """All that a module needs, directly or not, the nearest first."""
    found: list[str] = []
    todo = _depends(contents, name)
    while todo:
        one = todo.pop(0)
        if one in contents and one not in found:
            found.append(one)
            todo.extend(_depends(contents, one))
    return found


def _in_order(contents: dict[str, bytes], names: tuple[str, ...]) -> list[str]:
    """The modules and what they need, each after what it needs."""
    order: list[str] = []
    for name in names:
        if name not in contents:
            raise PackageInvalid(
                f"the kernel package has no module {name}",
                why="it is not the kernel labkit was made for",
                fix="Build with the lock file that comes with labkit, without refresh.",
                module=name,
            )
        _append(contents, name, order)
    return order


def _append(contents: dict[str, bytes], name: str, order: list[str]) -> None:
    for one in _depends(contents, name):
        if one in contents and one not in order:
            _append(contents, one, order)
    if name not in order:
        order.append(name)
