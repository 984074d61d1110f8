"""Seeds for systems without labkit's agent: their texts, and the disk they lie on."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import pycdlib
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import InvalidArgument
from labkit.programs import iso9660, nocloud, seed_script
from labkit.promise import GuestSpec, promise
from labkit.wish import FileWish, Slice
from slice_worlds import allocated, wishes

GOLDEN = Path(__file__).parents[1] / "golden" / "nocloud"
ODD = bytes(range(256)) + "é € 😀".encode()


def guest() -> GuestSpec:
    """A guest that wants something of everything."""
    wish = (
        Slice("net")
        .with_vm(
            "web",
            flavor="ubuntu",
            interfaces=2,
            internet=True,
            forwarding=True,
            addresses={"eth1": ["10.0.1.1/24", "fd00::1/64"], "eth2": "10.0.2.1/24"},
            routes=["10.9.0.0/16 via 10.0.2.254", "fd01::/64 via fd00::2"],
            hosts={"gateway": "10.0.2.254"},
            files={"/etc/motd": "Hello é\n"},
            commands=["echo 'it'\\''s up: 😀' > /run/up", "nohup server &"],
        )
        .with_vm("h1", addresses={"eth1": "10.0.1.2/24"}, routes=["default via 10.0.1.1"])
        .with_link("web:eth1", "h1:eth1")
    )
    return promise(wish, allocated(wish)).guest_of["web"]


def texts(one: GuestSpec) -> dict[str, str]:
    return {
        "meta-data": nocloud.meta_data(one, "net-web-1"),
        "network-config": nocloud.network_config(one),
        "user-data": nocloud.user_data(one),
        "script": seed_script.script(one),
    }


@pytest.mark.parametrize("name", ["meta-data", "network-config", "user-data", "script"])
def test_the_texts_are_the_golden_ones(name: str, pytestconfig: pytest.Config) -> None:
    text = texts(guest())[name]
    if pytestconfig.getoption("--update-golden"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def test_user_data_is_what_cloud_init_reads() -> None:
    text = nocloud.user_data(guest())
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    files = {one["path"]: one for one in document["write_files"]}
    assert "10.0.1.2\th1\n" in files["/etc/hosts"]["content"]
    assert base64.b64decode(files["/etc/motd"]["content"]).decode() == "Hello é\n"
    # commands run after each boot, not only after the first
    assert files[nocloud.EACH_BOOT]["permissions"] == "0755"
    assert files[nocloud.EACH_BOOT]["content"].endswith("😀' > /run/up\nnohup server &\n")


def test_interfaces_are_found_by_mac_and_an_unplugged_one_delays_nothing() -> None:
    one = guest()
    ethernets = yaml.safe_load(nocloud.network_config(one))["ethernets"]
    for name, mac in one.macs:
        assert ethernets[name]["match"] == {"macaddress": mac}
        assert ethernets[name]["set-name"] == name
        assert ethernets[name]["optional"] is True
    assert ethernets["eth0"]["routes"] == [{"to": "0.0.0.0/0", "via": "10.60.7.1"}]
    assert {"to": "fd01::/64", "via": "fd00::2"} in ethernets["eth1"]["routes"]


def test_a_default_route_of_ones_own_goes_before_the_internets() -> None:
    wish = Slice("net").with_vm(
        "a", internet=True, addresses={"eth1": "10.0.1.2/24"}, routes=["default via 10.0.1.1"]
    )
    one = promise(wish, allocated(wish)).guest_of["a"]
    ethernets = yaml.safe_load(nocloud.network_config(one))["ethernets"]
    assert "routes" not in ethernets["eth0"]
    assert ethernets["eth1"]["routes"] == [{"to": "0.0.0.0/0", "via": "10.0.1.1"}]


@given(wishes())
def test_every_wish_has_its_seed_and_every_route_is_in_it(wish: Slice) -> None:
    for one in promise(wish, allocated(wish)).guests:
        ethernets = yaml.safe_load(nocloud.network_config(one))["ethernets"]
        addresses = [
            (name, address)
            for name in ethernets
            for address in ethernets[name].get("addresses", ())
        ]
        assert set(one.addresses) <= set(addresses)
        routes = [route["via"] for name in ethernets for route in ethernets[name].get("routes", ())]
        assert {route.via for route in one.routes} <= set(routes)
        assert nocloud.seed_iso(one, "i") == nocloud.seed_iso(one, "i")


def test_a_file_that_was_not_read_is_refused() -> None:
    unread = replace(guest(), files=(FileWish("/etc/motd", source="/home/motd"),))
    with pytest.raises(InvalidArgument, match="whose content has been read"):
        nocloud.seed_iso(unread, "i")


# the disk


def read_back(image: bytes) -> tuple[str, dict[str, bytes]]:
    """Label and files, as another program reads them."""
    disk = pycdlib.PyCdlib()
    disk.open_fp(io.BytesIO(image))
    try:
        label = disk.pvd.volume_identifier.decode().rstrip()
        files: dict[str, bytes] = {}
        for child in disk.list_children(rr_path="/"):
            if child.is_file():
                name = child.rock_ridge.name().decode()
                content = io.BytesIO()
                disk.get_file_from_iso_fp(content, rr_path=f"/{name}")
                files[name] = content.getvalue()
        return label, files
    finally:
        disk.close()


def test_the_disk_has_the_texts_and_the_label() -> None:
    one = guest()
    label, files = read_back(nocloud.seed_iso(one, "net-web-1"))
    wanted = texts(one)
    script = wanted.pop("script")
    assert label == "cidata"
    assert files == {name: text.encode() for name, text in wanted.items()}
    label, files = read_back(nocloud.seed_iso(one, "net-web-1", dialect="script"))
    assert files["user-data"].decode() == script


def test_another_instance_id_is_another_disk() -> None:
    assert nocloud.seed_iso(guest(), "1") == nocloud.seed_iso(guest(), "1")
    assert nocloud.seed_iso(guest(), "1") != nocloud.seed_iso(guest(), "2")


NAMES = st.text("abcxyz-_.0123456789", min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)


@given(st.dictionaries(NAMES, st.binary(max_size=5000), max_size=8))
def test_any_files_can_be_read_back(files: dict[str, bytes]) -> None:
    image = iso9660.image("any", files)
    assert len(image) % iso9660.SECTOR == 0
    assert read_back(image) == ("any", files)


def test_more_files_than_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="99 files do not fit"):
        iso9660.image("many", {f"file{number}": b"" for number in range(99)})
