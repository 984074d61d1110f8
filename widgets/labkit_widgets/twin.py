"""What a live view leaves in the saved notebook, for readers without a kernel."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import publish_display_data

Bundle = dict[str, Any]


def publish(
    bundle: Bundle,
    metadata: Bundle | None = None,
    *,
    display_id: str = "",
    update: bool = False,
) -> None:
    """Send an output to the page; an `update` changes the one that was sent with its id."""
    transient = {"display_id": display_id} if display_id else {}
    publish_display_data(bundle, metadata, transient=transient, update=update)


class Twin:
    """An output beside the live one; the page hides it while the live one is there.

    It is drawn anew `pause` seconds after it was told of a change, and at once by `save`.
    """

    def __init__(self, bundle: Callable[[], Bundle], pause: float) -> None:
        self._bundle = bundle
        self._pause = pause
        self._display_id = ""
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._last: Bundle = {}

    def show(self) -> bool:
        """Display it now, as an output of the running cell; False outside of a notebook."""
        if not InteractiveShell.initialized():
            return False
        with self._lock:
            self._display_id = secrets.token_hex(8)
        self._last = self._bundle()
        publish(self._last, display_id=self._display_id)
        return True

    def changed(self) -> None:
        """What it shows has changed: update it soon."""
        with self._lock:
            if not self._display_id or self._timer is not None:
                return
            self._timer = threading.Timer(self._pause, self.save)
            self._timer.daemon = True
            self._timer.start()

    def save(self) -> None:
        """Bring it up to date now."""
        with self._lock:
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            if not self._display_id:
                return
        bundle = self._bundle()
        if bundle != self._last:
            self._last = bundle
            publish(bundle, display_id=self._display_id, update=True)
