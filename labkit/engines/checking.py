"""Whether a host is ready for slices: each thing they need, looked at or tried out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labkit.acceleration import qemu_version
from labkit.check_states import BAD, NOTE, OK
from labkit.engines.engine import Check
from labkit.errors import LabError, ProgramMissing, SystemImageDamaged
from labkit.events import Listener
from labkit.markup import counted
from labkit.programs import qemu

if TYPE_CHECKING:
    from labkit.engines.hosts import HostsEngine

OLDEST_PYTHON = (3, 8)
LEAST_MB = 256
FOLDER_FIXES = {
    "path-too-long": "Set LABKIT_RUN_DIR there to a folder with a short path.",
    "folder-unsafe": "Remove that folder, or set LABKIT_RUN_DIR there to one of yours.",
    "not-writable": "Set LABKIT_RUN_DIR there to a folder of yours.",
}
INSTALL_IMG = "For VMs with disks install it there (Debian, Ubuntu: apt install qemu-utils)."
BUILD = "It is built when it is first needed; or now: labkit image build"


class Checker:
    """Looks at one host."""

    def __init__(self, engine: HostsEngine, host: str, tell: Listener) -> None:
        self._engine = engine
        self._host = host
        self._tell = tell

    def checks(self) -> list[Check]:
        """All there is to say; a host that cannot be asked has one row, which says why."""
        try:
            facts = self._engine.survey_host(self._host, [])
            return [*self._programs(facts), *self._machines(facts), *self._places(facts)]
        except LabError as error:
            return [self._bad("host", str(error.why or error.what), error.fix)]

    def _programs(self, facts: dict[str, Any]) -> Iterator[Check]:
        old = tuple(map(int, facts["python"].split(".")[:2])) < OLDEST_PYTHON
        fix = "Install python3 3.8 or newer there." if old else ""
        yield Check(self._host, "python", BAD if old else OK, facts["python"], fix)
        version = self._engine.disks().look(self._host).qemu_img
        if version is None:
            yield self._note("qemu-img", "there is none", INSTALL_IMG)
        else:
            yield self._ok("qemu-img", version)

    def _machines(self, facts: dict[str, Any]) -> Iterator[Check]:
        try:
            version = qemu_version(self._engine.executor, self._host)
        except ProgramMissing as error:
            yield self._bad("QEMU", error.why, qemu.INSTALL)
            return
        yield self._ok("QEMU", version)
        image = self._image()
        yield image
        yield self._acceleration(can_boot=image.state == OK, has_kvm=facts["kvm"])

    def _image(self) -> Check:
        try:
            image = self._engine.find_image(self._host)
        except SystemImageDamaged as error:
            return self._bad("micro image", error.why, error.fix)
        if image is None:
            return self._note("micro image", "it is not built yet", BUILD)
        return self._ok("micro image", image.kernel.kernel.rpartition("/")[0])

    def _acceleration(self, *, can_boot: bool, has_kvm: bool) -> Check:
        if not can_boot:
            said = "/dev/kvm is there, and not tried yet" if has_kvm else "there is no /dev/kvm"
            return self._note("acceleration", said, "Ask again once the micro image is built.")
        found = self._engine.acceleration(self._host, self._tell, again=True)
        if found.acceleration == qemu.KVM:
            return self._ok("acceleration", f"KVM: {found.why}")
        detail = f"machines run in software (TCG), as KVM does not work here: {found.why}"
        return self._note("acceleration", detail, "They are several times slower than with KVM.")

    def _places(self, facts: dict[str, Any]) -> Iterator[Check]:
        memory, free = facts["memory"] >> 20, facts["available"] >> 20
        detail = f"{counted(facts['cores'], 'core')}, {memory} MB, {free} MB of it free"
        if free < LEAST_MB:
            yield self._bad("size", detail, "End what is not needed: labkit ls, labkit down.")
        else:
            yield self._ok("size", detail)
        health = self._engine.health(self._host)
        problem = health["problem"]
        if problem is None:
            yield self._ok("run folder", health["run_dir"])
            return
        said = ", ".join(f"{name} {value}" for name, value in problem.items() if name != "code")
        code = problem["code"]
        yield self._bad("run folder", f"{code.replace('-', ' ')}: {said}", FOLDER_FIXES[code])

    def _ok(self, check: str, detail: str) -> Check:
        return Check(self._host, check, OK, detail)

    def _note(self, check: str, detail: str, fix: str) -> Check:
        return Check(self._host, check, NOTE, detail, fix)

    def _bad(self, check: str, detail: str, fix: str) -> Check:
        return Check(self._host, check, BAD, detail, fix)
