"""QEMU's monitor (QMP) of a simulated machine: the commands labkit and students use."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from labkit.simulator.qemu.picture import png

if TYPE_CHECKING:
    from labkit.simulator.qemu.process import Plug, Qemu

Facts = dict[str, Any]
VERSION = {"qemu": {"micro": 2, "minor": 2, "major": 7}, "package": "simulated"}
GREETING = {"QMP": {"version": VERSION, "capabilities": ["oob"]}}


class CommandFailed(Exception):
    """A command that cannot be done, with QMP's error class and words."""

    def __init__(self, words: str, kind: str = "GenericError") -> None:
        super().__init__(words)
        self.kind = kind


class Monitor:
    """Answers commands in order; events as they come."""

    def __init__(self, qemu: Qemu, plug: Plug) -> None:
        self._qemu = qemu
        self._plug = plug
        self._in = bytearray()
        self._netdevs: dict[str, str] = {}
        self._devices: dict[str, str] = {}
        self._commands: dict[str, Callable[[Facts], Any]] = {
            "qmp_capabilities": lambda _: {},
            "query-uuid": lambda _: {"UUID": qemu.uuid},
            "query-name": lambda _: {"name": qemu.options.name},
            "query-version": lambda _: VERSION,
            "query-kvm": lambda _: {"enabled": False, "present": False},
            "query-status": self._status,
            "query-commands": lambda _: [{"name": name} for name in sorted(self._commands)],
            "stop": lambda _: self._done(qemu.pause),
            "cont": lambda _: self._done(qemu.resume),
            "quit": lambda _: self._done(lambda: qemu.shut_down("host-qmp-quit")),
            "system_reset": lambda _: self._done(lambda: qemu.reset("host-qmp-system-reset")),
            "system_powerdown": self._powerdown,
            "screendump": self._screendump,
            "set_link": self._set_link,
            "netdev_add": self._netdev_add,
            "netdev_del": self._netdev_del,
            "device_add": self._device_add,
            "device_del": self._device_del,
        }
        plug.on_connect = self._greet
        plug.on_data = self._read

    def event(self, kind: str, data: Facts) -> None:
        now = self._qemu.worker.world.now
        stamp = {"seconds": int(now), "microseconds": int(now % 1 * 1e6)}
        self._say({"event": kind, "data": data, "timestamp": stamp})

    # ---- inside

    def _greet(self) -> None:
        self._in.clear()
        self._say(GREETING)

    def _say(self, message: Facts) -> None:
        self._plug.send(json.dumps(message).encode() + b"\r\n")

    def _read(self, data: bytes) -> None:
        self._in += data
        while (end := self._in.find(b"\n")) >= 0:
            line = bytes(self._in[:end])
            del self._in[: end + 1]
            self._command(json.loads(line))

    def _command(self, message: Facts) -> None:
        name = message.get("execute", "")
        try:
            command = self._commands.get(name)
            if command is None:
                words = f"The command {name} has not been found"
                raise CommandFailed(words, "CommandNotFound")
            answer = command(message.get("arguments", {}))
        except CommandFailed as failure:
            self._say({"error": {"class": failure.kind, "desc": str(failure)}})
        except KeyError as missing:
            words = f"Parameter '{missing.args[0]}' is missing"
            self._say({"error": {"class": "GenericError", "desc": words}})
        else:
            self._say({"return": answer})

    def _done(self, work: Callable[[], None]) -> Facts:
        work()
        return {}

    def _status(self, _arguments: Facts) -> Facts:
        qemu = self._qemu
        status = "running"
        if qemu.is_paused:
            status = "prelaunch" if qemu.is_prelaunch else "paused"
        return {"status": status, "running": not qemu.is_paused, "singlestep": False}

    def _powerdown(self, _arguments: Facts) -> Facts:
        self.event("POWERDOWN", {})
        if self._qemu.guest is not None:
            self._qemu.guest.press_power_button()
        return {}

    def _screendump(self, arguments: Facts) -> Facts:
        if not self._qemu.options.has_screen:
            raise CommandFailed("There is no console to take a screendump from")
        path = posixpath.join(self._qemu.folder, arguments["filename"])
        self._qemu.worker.files.write(path, png(self._qemu.options.name))
        return {}

    def _set_link(self, arguments: Facts) -> Facts:
        name = str(arguments["name"])
        path = name if name in self._qemu.nics else self._devices.get(name, name[:1] + name[3:])
        nic = self._qemu.nics.get(path)
        if nic is None:
            raise CommandFailed(f"Device '{name}' not found", "DeviceNotFound")
        nic.set_carrier(has_carrier=bool(arguments["up"]))
        return {}

    def _netdev_add(self, arguments: Facts) -> Facts:
        name = arguments["id"]
        if name in self._netdevs:
            raise CommandFailed(f"Duplicate ID '{name}' for netdev")
        address = arguments.get("addr") or {"path": arguments.get("addr.path", "")}
        self._netdevs[name] = address["path"]
        return {}

    def _netdev_del(self, arguments: Facts) -> Facts:
        if self._netdevs.pop(arguments["id"], None) is None:
            raise CommandFailed(f"Device '{arguments['id']}' not found", "DeviceNotFound")
        return {}

    def _device_add(self, arguments: Facts) -> Facts:
        if arguments.get("driver") != "virtio-net-pci":
            raise CommandFailed(f"'{arguments.get('driver')}' is not simulated")
        path = self._netdevs.get(arguments["netdev"])
        if path is None:
            netdev = arguments["netdev"]
            raise CommandFailed(f"Property 'virtio-net-device.netdev' can't find value '{netdev}'")
        self._devices[arguments["id"]] = path
        self._qemu.add_nic(path, arguments["mac"])
        return {}

    def _device_del(self, arguments: Facts) -> Facts:
        path = self._devices.pop(arguments["id"], None)
        if path is None:
            raise CommandFailed(f"Device '{arguments['id']}' not found", "DeviceNotFound")
        self._qemu.remove_nic(path)
        self.event("DEVICE_DELETED", {"device": arguments["id"]})
        return {}
