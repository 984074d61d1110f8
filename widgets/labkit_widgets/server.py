"""A Jupyter server extension: what a kernel says leaves the server at once.

Without it, small messages wait up to 40 ms for the browser's delayed acknowledgement of the one
before (Nagle's algorithm). Widgets work without it as well.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "labkit_widgets.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    settings = app.web_app.settings
    base = settings.get("kernel_websocket_connection_class")
    if base is None:  # kernels live elsewhere, behind a gateway of another kind
        app.log.info("labkit_widgets: this server has no kernel connections to quicken")
        return

    class PromptConnection(base):  # type: ignore[misc, valid-type]
        """A kernel's connection to a page, without Nagle's delay."""

        async def connect(self) -> Any:
            self.websocket_handler.set_nodelay(True)
            return await super().connect()

    settings["kernel_websocket_connection_class"] = PromptConnection
    app.log.info("labkit_widgets: kernel messages are sent without delay")
