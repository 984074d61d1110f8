"""A steward reached over SSH: the network breaks in the middle of it, and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from labkit import steward
from labkit.errors import CommandTimeout, ConnectionLost
from labkit.links import Links
from labkit.local import LocalExecutor
from labkit.ssh.executor import RemoteExecutor
from labkit.steward import Steward
from labkit.testing.relay import Relay
from labkit.testing.sshd import HOST, SSHServer
from sshd_server import MakeServer, remote_executor
from steward_host import KEY, StewardHost, frame, wait_until

pytestmark = pytest.mark.ssh


@pytest.fixture
def server(fresh_sshd: MakeServer, host: StewardHost) -> SSHServer:
    return fresh_sshd(settings={"SetEnv": f"LABKIT_RUN_DIR={host.base}"})


@pytest.fixture
def relay(server: SSHServer) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        server.trust(relay.port)
        yield relay


@pytest.fixture
def executor(server: SSHServer, relay: Relay) -> Iterator[RemoteExecutor]:
    with remote_executor(server, port=relay.port) as executor:
        yield executor


@pytest.fixture
def client(executor: RemoteExecutor, host: StewardHost) -> Iterator[Steward]:
    host.ensure()  # so that the host ends it, whatever happens to the network
    with steward.ensure(executor, HOST, KEY) as client:
        yield client


def test_it_is_the_same_as_seen_from_the_host(client: Steward, host: StewardHost) -> None:
    assert isinstance(host.executor, LocalExecutor)
    assert client.call("hello").facts["uuid"] == host.ensure().facts["uuid"]


def test_packets_come_over_the_network(client: Steward, host: StewardHost) -> None:
    links = Links(client)
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port])
        with links.capture("a") as seen:
            one.send(*(frame(2, 1, bytes(1400)) for _ in range(1000)))
            wait_until(lambda: len(seen) == 1000, "the frames")
    assert seen.dropped == 0


def test_a_cut_is_told_and_the_next_request_connects_anew(client: Steward, relay: Relay) -> None:
    client.call("link-set", link="a", ports=[[1, 0], [2, 0]])
    capture = client.start("capture-start", links=["a"])
    next(capture.parts(30))
    relay.cut()
    with pytest.raises(ConnectionLost):
        capture.result(30)
    capture.cancel()
    links = client.call("link-list").facts["links"]
    assert [link["link"] for link in links] == ["a"]
    wait_until(lambda: not client.call("capture-list").facts["captures"], "it to be noticed there")


def test_listeners_hear_on_after_a_cut(client: Steward, relay: Relay, host: StewardHost) -> None:
    heard = threading.Event()
    client.listen(lambda event: heard.set() if event["kind"] == "port-lost" else None)
    relay.cut()
    wait_until(lambda: _asks(client), "the network to be well again")
    with host.nic(1) as one:
        client.call("link-set", link="a", ports=[[1, 0]])
        one.hang_up()
        assert heard.wait(20)


def _asks(client: Steward) -> bool:
    try:
        return bool(client.call("hello"))
    except ConnectionLost:
        return False


def test_a_silent_network_is_a_timeout_and_no_half_frame_follows(
    client: Steward, relay: Relay
) -> None:
    client.call("hello")
    relay.stall()
    with pytest.raises(CommandTimeout):
        client.call("link-set", link="a", ports=[[1, 0]], timeout=0.5)
    relay.resume()
    assert client.call("hello", timeout=30).facts["machines"] == []
