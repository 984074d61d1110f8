"""Forms and live views of labkit for Jupyter."""

from labkit_widgets.vm_form import VMForm

__all__ = ["VMForm"]
