"""What is asked of a worker's image folder, and what is known of it, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit import rules

MAX_MARK_BYTES = 2048  # ext4 keeps all extended attributes of a file in 4 KiB


@dataclass(frozen=True, slots=True)
class OverlayRequest:
    """One VM disk to make on top of a base image.

    `base_image_path` is on the manager; `disk_gb` None means the size of the base. `mark` is kept
    with the disk: plain values that say whose it is, such as ``{"owner": "ana", "vm_id": 7}``.
    """

    vm_name: str
    base_image_path: str
    disk_gb: float | None = None
    mark: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules.overlay_file(self.vm_name)
        rules.image_file(self.base_image_path)
        if self.disk_gb is not None:
            rules.disk_bytes(self.disk_gb)
        try:
            small = len(json.dumps(dict(self.mark))) <= MAX_MARK_BYTES
        except (TypeError, ValueError):
            small = False
        if not small:
            rule = f"a dict of plain values, at most {MAX_MARK_BYTES} bytes as JSON"
            rules.invalid("mark", self.mark, rule)

    @property
    def file(self) -> str:
        return rules.overlay_file(self.vm_name)

    @property
    def base(self) -> str:
        return rules.image_file(self.base_image_path)

    @property
    def size(self) -> int | None:
        """The disk's size in bytes; None: the base's."""
        return None if self.disk_gb is None else rules.disk_bytes(self.disk_gb)


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """A base image in a worker's folder; `bytes` is the file's size."""

    file: str
    bytes: int


@dataclass(frozen=True, slots=True)
class OverlayFacts:
    """A VM disk in a worker's folder; what could not be read is None.

    `bytes` is the file's size, `size` that of the disk inside, `mark` what was kept with it.
    """

    file: str
    bytes: int
    base: str | None
    size: int | None
    mark: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker is and what its image folder holds; sizes are in bytes.

    `qemu_img` is None where the program is missing; `free` and `total` are about the file system
    of `base_dir`, which need not exist yet.
    """

    worker_ip: str
    home: str
    base_dir: str
    free: int
    total: int
    cores: int
    ram: int
    python: str
    qemu_img: str | None
    bases: tuple[BaseFacts, ...]
    overlays: tuple[OverlayFacts, ...]

    @classmethod
    def from_answer(cls, worker_ip: str, answer: Mapping[str, Any]) -> WorkerFacts:
        """The facts as the worker program told them."""
        plain = {key: answer[key] for key in _TOLD}
        return cls(
            worker_ip=worker_ip,
            bases=tuple(BaseFacts(**item) for item in answer["bases"]),
            overlays=tuple(OverlayFacts(**item) for item in answer["overlays"]),
            **plain,
        )


_TOLD = ("home", "base_dir", "free", "total", "cores", "ram", "python", "qemu_img")
