"""Forms and live views of labkit for Jupyter.

Names are loaded when they are first used, so that importing this costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    import anywidget as _anywidget  # noqa: F401 - only to say what is missing
    import ipywidgets as _ipywidgets  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"labkit_widgets needs {error.name}: install labkit with its notebook extra, "
        "pip install 'labkit[notebook]', or run make lab in a clone of labkit"
    ) from error

if TYPE_CHECKING:
    from labkit_widgets.editor import SliceEditor
    from labkit_widgets.panel import SlicePanel
    from labkit_widgets.screen import Screen
    from labkit_widgets.sources import ByteSource
    from labkit_widgets.terminal import Terminal
    from labkit_widgets.vm_form import VMForm

_HOMES = {
    "ByteSource": "sources",
    "Screen": "screen",
    "SliceEditor": "editor",
    "SlicePanel": "panel",
    "Terminal": "terminal",
    "VMForm": "vm_form",
}

__all__ = ["ByteSource", "Screen", "SliceEditor", "SlicePanel", "Terminal", "VMForm"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'labkit_widgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"labkit_widgets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
