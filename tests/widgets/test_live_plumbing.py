"""What live widgets stand on: routes of messages, notes to users, bundles, entry points, faces."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets
import pytest

import labkit_widgets
from labkit_widgets import faces, routing
from labkit_widgets.assets import STATIC, asset
from labkit_widgets.server import _load_jupyter_server_extension
from paper_lab import paper_lab


class RerouteComm:
    """A comm as ipykernel 7.4.0 makes them: it sends messages to where it was last used."""

    def _reply_subshell_for(self, _data: object, _default: str | None) -> str | None:
        return None


def test_the_front_ends_choice_of_a_thread_is_kept() -> None:
    widget: Any = SimpleNamespace(comm=RerouteComm())
    assert widget.comm._reply_subshell_for({}, "subshell") is None
    routing.keep_route(widget)
    assert widget.comm._reply_subshell_for({}, "subshell") == "subshell"


def test_every_part_of_the_form_keeps_its_route() -> None:
    plain = ipywidgets.Button()
    routing.keep_route(plain)  # a comm that chooses nothing is left as it is
    assert not hasattr(plain.comm, "_reply_subshell_for")


@pytest.mark.parametrize(
    ("version", "said"), [("6.31.0", "only between cells"), ("7.3.0", ""), ("10.0", "")]
)
def test_an_old_kernel_is_told_of(version: str, said: str) -> None:
    note = routing.kernel_note(version)
    assert (said in note) if said else note == ""


def asked_by(kind: str) -> Any:
    """A widget while a message of a kind is handled."""
    parent = {"header": {"msg_type": kind}}
    return SimpleNamespace(comm=SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: parent)))


def test_a_page_without_subshells_is_told_of() -> None:
    widget = asked_by("comm_msg")
    assert "subshells" in routing.front_end_note(widget)  # pytest's thread is the main one
    notes: list[str] = []
    thread = threading.Thread(target=lambda: notes.append(routing.front_end_note(widget)))
    thread.start()
    thread.join()
    assert notes == [""]


def test_what_a_cell_does_tells_nothing_of_the_page() -> None:
    assert routing.front_end_note(asked_by("execute_request")) == ""
    assert routing.front_end_note(ipywidgets.Button()) == ""


def test_a_missing_bundle_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ImportError, match=r"pip install -e"):
        asset("nothing.js")


def test_the_bundles_name_what_is_in_them_and_its_licences() -> None:
    text = (STATIC / "THIRD_PARTY.txt").read_text()
    for words in ("@novnc/novnc 1.7.0", "@xterm/xterm 6.0.0", "Mozilla Public License Version 2.0"):
        assert words in text
    for name in ("terminal.js", "screen.js"):
        assert "THIRD_PARTY.txt" in (STATIC / name).read_text()[:200]


@pytest.mark.parametrize("name", ["console", "shell", "screen"])
def test_the_core_finds_the_faces_by_their_entry_points(name: str) -> None:
    (entry,) = entry_points(group="labkit.views", name=name)
    assert entry.load() is getattr(faces, name)


@pytest.mark.parametrize("face", [faces.console, faces.shell, faces.screen])
def test_a_face_asks_nothing_before_it_is_shown(face: Callable[[Any], Any]) -> None:
    widget = face(SimpleNamespace(name="r1"))  # no machine yet
    assert "r1" in repr(widget)
    assert isinstance(widget, labkit_widgets.Terminal | labkit_widgets.Screen)


def test_a_vm_gives_its_faces_the_options_of_its_caller(tmp_path: Path) -> None:
    vm = paper_lab(tmp_path).slice("net").add_vm("r1")
    for console in (vm.console(rows=7, read_only=True), vm.shell(rows=7, read_only=True)):
        assert isinstance(console, labkit_widgets.Terminal)
        assert (console.rows, console.read_only) == (7, True)
    screen = vm.screen(read_only=True)
    assert isinstance(screen, labkit_widgets.Screen)
    assert screen.read_only


def test_the_server_extension_turns_nagles_delay_off_and_keeps_the_rest() -> None:
    done: list[object] = []

    class Connection:
        def __init__(self) -> None:
            self.websocket_handler = SimpleNamespace(set_nodelay=done.append)

        async def connect(self) -> str:
            return "connected"

    settings: dict[str, Any] = {"kernel_websocket_connection_class": Connection}
    log = SimpleNamespace(info=lambda *_words: None)
    app = SimpleNamespace(web_app=SimpleNamespace(settings=settings), log=log)
    _load_jupyter_server_extension(app)
    prompt = settings["kernel_websocket_connection_class"]()
    assert asyncio.run(prompt.connect()) == "connected"
    assert done == [True]
    assert isinstance(prompt, Connection)
