"""The disks of a deployment on its workers, and those that should not be there and may be."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence

from labkit.errors import (
    AuthenticationRefused,
    HostKeyChanged,
    HostKeyUnknown,
    ImageError,
    LabkitError,
    ProgramMissing,
    UsageError,
    WorkerUnreachable,
)
from labkit.images.manager import OverlayRequest, QCOWManager

logger = logging.getLogger("labkit")

NOTHING_MADE = (  # errors after which it is sure that no disk of the request is there
    UsageError,
    ImageError,
    WorkerUnreachable,
    HostKeyUnknown,
    HostKeyChanged,
    AuthenticationRefused,
    ProgramMissing,
)

Key = tuple[str, str]  # worker and path


class Disks:
    """Makes and deletes disks. Whatever interrupts that, what may be left is known."""

    def __init__(self, manager: QCOWManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._leftovers: dict[Key, str] = {}  # why
        self._unknown: set[Key] = set()  # those of them that may never have been made

    @property
    def leftovers(self) -> Mapping[Key, str]:
        """Disks that should not be there and may be, and why."""
        with self._lock:
            return dict(self._leftovers)

    def create(self, host: str, overlays: Sequence[OverlayRequest]) -> list[str] | Exception:
        """The disks' paths, or the error as a value: other workers' disks depend on it.

        They are left over until they are `settled`.
        """
        keys = [(host, f"{self._manager.base_dir}/{overlay.file}") for overlay in overlays]
        with self._lock:  # known before the first effect: whatever interrupts us, it can be found
            self._unknown.update(keys)
            self._leftovers.update(
                (key, "may be there: its making was interrupted") for key in keys
            )
        try:
            made = self._manager.create_overlays(host, overlays)
        except NOTHING_MADE as error:
            self.settled(keys)
            return error
        except Exception as error:  # noqa: BLE001 - a listener may raise anything; a value here
            with self._lock:
                self._leftovers.update((key, f"may be there: {error}") for key in keys)
            return error
        with self._lock:
            self._unknown.difference_update(keys)
            self._leftovers.update((key, "made for a VM that was not recorded") for key in keys)
        return made

    def take_back(self, host: str, paths: list[str]) -> None:
        """Delete what was just made; where that cannot be done, it is left over."""
        try:
            self.delete(host, paths)
        except LabkitError as error:
            logger.warning("disks left behind on %s after a failed creation: %s", host, error)

    def delete(self, host: str, paths: list[str]) -> None:
        """Recorded as left over first: if this is interrupted, they are known."""
        with self._lock:
            self._leftovers.update(((host, path), "being deleted") for path in paths)
        try:
            self._manager.delete_overlays(host, paths)
        except UsageError:
            self.settled((host, path) for path in paths)
            raise
        except LabkitError as error:
            with self._lock:
                self._leftovers.update(((host, path), str(error)) for path in paths)
            raise
        self.settled((host, path) for path in paths)

    def clean_up(self, host: str, paths: Sequence[str]) -> list[str]:
        """Delete leftovers of a worker; answers with those of VMs that may be recorded.

        Of a disk whose making was interrupted only what was made by that very request is deleted.
        """
        with self._lock:
            unsure = [path for path in paths if (host, path) in self._unknown]
        self._manager.take_back(host, unsure)
        self.settled((host, path) for path in unsure)
        doomed = [path for path in paths if path not in unsure]
        self.delete(host, doomed)
        return doomed

    def settled(self, keys: Iterable[Key]) -> None:
        """Nothing of these disks is in doubt any more."""
        with self._lock:
            for key in keys:
                self._leftovers.pop(key, None)
                self._unknown.discard(key)
