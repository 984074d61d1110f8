"""Forms and live views of labkit for Jupyter."""

try:
    import anywidget as _anywidget  # noqa: F401 - only to say what is missing
    import ipywidgets as _ipywidgets  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "labkit_widgets needs ipywidgets and anywidget: install labkit with its notebook extra, "
        "pip install 'labkit[notebook]', or run make lab in a clone of labkit"
    ) from error

from labkit_widgets.editor import SliceEditor
from labkit_widgets.vm_form import VMForm

__all__ = ["SliceEditor", "VMForm"]
