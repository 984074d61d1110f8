"""Forms and live views of labkit for Jupyter."""

try:
    import anywidget as _anywidget  # noqa: F401 - only to say what is missing
    import ipywidgets as _ipywidgets  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"labkit_widgets needs {error.name}: install labkit with its notebook extra, "
        "pip install 'labkit[notebook]', or run make lab in a clone of labkit"
    ) from error

from labkit_widgets.editor import SliceEditor
from labkit_widgets.screen import Screen
from labkit_widgets.sources import ByteSource
from labkit_widgets.terminal import Terminal
from labkit_widgets.vm_form import VMForm

__all__ = ["ByteSource", "Screen", "SliceEditor", "Terminal", "VMForm"]
