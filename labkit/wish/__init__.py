"""What a user wants: frozen, checked values that hold names, not references."""

from __future__ import annotations

from labkit.wish.links import Impairment, LinkWish, split_end
from labkit.wish.slices import Slice
from labkit.wish.vms import FileWish, Route, VMWish, data_interfaces

__all__ = [
    "FileWish",
    "Impairment",
    "LinkWish",
    "Route",
    "Slice",
    "VMWish",
    "data_interfaces",
    "split_end",
]
