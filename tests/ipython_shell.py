"""An IPython as in a notebook, but in the process of the tests, which is left as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from IPython.core.interactiveshell import InteractiveShell


@contextmanager
def ipython_shell() -> Iterator[InteractiveShell]:
    """A shell; it puts a module of its own in the place of ``__main__``, and that back."""
    main = sys.modules["__main__"]
    shell = InteractiveShell.instance()
    try:
        yield shell
        shell.reset()
    finally:
        InteractiveShell.clear_instance()
        sys.modules["__main__"] = main
