"""Where in the user's own cell or file an error began, and whether short reports are wanted."""

from __future__ import annotations

import builtins
import linecache
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

PACKAGES = (str(Path(__file__).parent) + "/", "/labkit_widgets/")
SHORT_MODE = "Context"  # IPython's mode of tracebacks when its user chose none


def users_line(trace: TracebackType | None) -> str:
    """The line of the user that led to an error: ``cell In[3], line 2: net.deploy()``, or nothing.

    The last one before labkit's own code begins.
    """
    found: tuple[FrameType, int] | None = None
    for frame, line in _frames(trace):
        if _is_own(frame.f_code.co_filename):
            break
        found = frame, line
    if found is None:
        return ""
    frame, line = found
    name = frame.f_code.co_filename
    code = linecache.getline(name, line, frame.f_globals).strip()
    return f"{_place(name)}, line {line}{f': {code}' if code else ''}"


def wants_short() -> bool:
    """Whether the running IPython shows tracebacks as it does by itself.

    Whoever asks it for another mode (``%xmode``, ``%tb verbose``) wants to see all.
    """
    shell = _shell()
    mode = getattr(getattr(shell, "InteractiveTB", None), "mode", "")
    return bool(mode == SHORT_MODE)


def colours() -> tuple[str, str, str]:
    """The codes for bold, red and neither; empty where the running IPython shows no colours."""
    if str(getattr(_shell(), "colors", "nocolor")).lower() == "nocolor":
        return "", "", ""
    return "\x1b[1m", "\x1b[31m", "\x1b[0m"


def _shell() -> Any:
    """The running IPython, which says so itself: the core must not import it."""
    get_ipython = getattr(builtins, "get_ipython", None)
    return get_ipython() if callable(get_ipython) else None


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/IPython/core/" not in name:
            yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _is_own(name: str) -> bool:
    return name.startswith(PACKAGES[0]) or PACKAGES[1] in name


def _place(name: str) -> str:
    """A file's name for people; IPython knows which cell a made-up file name stands for."""
    known = getattr(getattr(_shell(), "compile", None), "format_code_name", None)
    told = known(name) if callable(known) else None
    if isinstance(told, tuple):
        return f"{told[0].lower()} {told[1]}"
    return name if name.startswith("<") else Path(name).name
