"""Labs and their slices: what a user writes in a notebook cell."""

from __future__ import annotations

from labkit.lab.lab import Lab
from labkit.lab.link_handle import LabLink
from labkit.lab.slice_handle import LabSlice
from labkit.lab.vm_handle import LabVM

__all__ = ["Lab", "LabLink", "LabSlice", "LabVM"]
