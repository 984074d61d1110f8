"""What a cell shows in a real kernel: progress, whoever else asks things, and a whole lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

TESTS = Path(__file__).parents[1]
REPLY_SECONDS = 60
LAB = """
import pathlib, tempfile, threading
from paper_lab import paper_lab
lab = paper_lab(pathlib.Path(tempfile.mkdtemp()))
net = lab.slice("ospf")
net.add_vm("r1")
was_asked = threading.Event()
"""
CELL = "print('it runs', flush=True); was_asked.wait(); net.deploy()"


@pytest.fixture
def client() -> Iterator[BlockingKernelClient]:
    """A kernel, and a front end of it."""
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    manager, client = start_new_kernel(startup_timeout=REPLY_SECONDS, env=environment)
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def subshell(client: BlockingKernelClient) -> str:
    """Another thread of the kernel that answers, as the widgets of a page have one."""
    request = client.session.msg("create_subshell_request")
    client.control_channel.send(request)
    reply = client.get_control_msg(timeout=REPLY_SECONDS)
    return str(reply["content"]["subshell_id"])


def execute(client: BlockingKernelClient, code: str, subshell_id: str | None = None) -> str:
    """Ask for code to be run, by a front end before which a person sits; the request's id."""
    content = {"code": code, "silent": False, "allow_stdin": True}
    request = client.session.msg("execute_request", content)
    request["header"]["subshell_id"] = subshell_id
    client.shell_channel.send(request)
    return str(request["header"]["msg_id"])


def told_until(client: BlockingKernelClient, cell: str, kind: str) -> list[dict[str, Any]]:
    """What the kernel tells everybody, until it tells a cell of this, a type or a state."""
    told = []
    while True:
        message = client.get_iopub_msg(timeout=REPLY_SECONDS)
        told.append(message)
        kinds = (message["msg_type"], message["content"].get("execution_state"))
        if message["parent_header"].get("msg_id") == cell and kind in kinds:
            return told


def test_it_is_below_its_cell_though_a_page_was_answered_meanwhile(
    client: BlockingKernelClient,
) -> None:
    told_until(client, execute(client, LAB), "idle")
    cell = execute(client, CELL)
    told_until(client, cell, "stream")
    execute(client, "was_asked.set()", subshell(client))
    told = told_until(client, cell, "idle")
    shown = [one for one in told if one["msg_type"].endswith("display_data")]
    assert "as wished" in shown[-1]["content"]["data"]["text/plain"]
    assert {one["parent_header"]["msg_id"] for one in shown} == {cell}


def test_a_lab_is_a_table_and_the_panels_of_its_slices(client: BlockingKernelClient) -> None:
    told_until(client, execute(client, LAB), "idle")
    told = told_until(client, execute(client, "lab.slice('core')\nlab"), "idle")
    shown = [one["content"]["data"] for one in told if one["msg_type"] == "display_data"]
    texts = [one["text/plain"] for one in shown]
    assert "slices: core, ospf" in texts[0]
    panels = [one for one in shown if "application/vnd.jupyter.widget-view+json" in one]
    assert len(panels) == 2
