"""Whether widgets answer while a cell runs: keeping their messages off the main thread."""

from __future__ import annotations

import re
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import Any

OLD_KERNEL = (
    "This kernel (ipykernel {}) answers only between cells: pip install 'ipykernel>=7.4', "
    "then restart it."
)
OLD_FRONT_END = (
    "This page waits for running cells: it does not know subshells. JupyterLab 4.4, Notebook 7.4 "
    "and newer do."
)


def keep_route(widget: Any) -> None:
    """Let the front end choose which thread answers it.

    ipykernel 7.4.0 sends a widget's messages to the thread that last *sent* on its comm: for a
    widget made in a cell the main one, behind whatever cell runs there.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda _data, default: default


def kernel_note(found: str | None = None) -> str:
    """What to tell users of a kernel without subshells; empty when it has them."""
    if found is None:
        try:
            found = version("ipykernel")
        except PackageNotFoundError:
            return ""  # another kernel: only trying tells
    match = re.match(r"(\d+)", found)
    return OLD_KERNEL.format(found) if match and int(match[1]) < 7 else ""


def front_end_note(widget: Any) -> str:
    """What to tell when a message of the page is answered by the thread that runs cells.

    To be asked while something is done to `widget`, by a page or by a cell; and not for a page's
    first message, which may come before its subshell is there.
    """
    kernel = getattr(widget.comm, "kernel", None)
    parent = {} if kernel is None else kernel.get_parent()
    from_page = parent.get("header", {}).get("msg_type") == "comm_msg"
    waits = from_page and threading.current_thread() is threading.main_thread()
    return OLD_FRONT_END if waits else ""
