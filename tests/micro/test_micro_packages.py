"""Indexes, dependencies, versions and locks of Debian packages, without a network."""

from __future__ import annotations

import functools
import hashlib
import lzma
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MirrorMissing, PackageInvalid, PackageMissing
from labkit.micro.index import INDEX_FILE, read_index
from labkit.micro.packages import (
    Index,
    Lock,
    Package,
    read_lock,
    version_key,
    with_added,
    write_lock,
)
from labkit.micro.sources import Mirror


def entry(name: str, version: str = "1.0", **more: str) -> str:
    fields = {
        "Package": name,
        "Version": version,
        "Filename": f"pool/{name}_{version}.deb",
        "SHA256": hashlib.sha256(name.encode()).hexdigest(),
        "Size": "10",
        **{key.replace("_", "-"): value for key, value in more.items()},
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def index(*entries: str) -> Index:
    return Index(["\n".join(entries)])


ORDERED = [
    "0~~",
    "0~",
    "0~a",
    "0",
    "0a",
    "0+",
    "1.0~rc1",
    "1.0",
    "1.0-1",
    "1.0-1+b1",
    "1.0.1",
    "1.2",
    "1.10",
    "1:0.1",
    "1:0.1-1",
    "2:0",
]


def test_versions_sort_as_debian_sorts_them() -> None:
    shuffled = random.Random(1).sample(ORDERED, len(ORDERED))
    assert sorted(shuffled, key=functools.cmp_to_key(compare)) == ORDERED


def compare(one: str, other: str) -> int:
    first, second = version_key(one), version_key(other)
    return (first > second) - (first < second)


@given(st.text("0123456789.+~abz-", min_size=1), st.text("0123456789.+~abz-", min_size=1))
def test_any_two_versions_can_be_compared(one: str, other: str) -> None:
    assert compare(one, other) == -compare(other, one)
    assert compare(one, one) == 0


def test_the_newest_of_several_indexes_is_taken() -> None:
    both = Index([entry("a", "1.9"), entry("a", "1.10"), entry("a", "1.2")])
    assert both.package("a").version == "1.10"


def test_a_closure_follows_alternatives_and_virtual_packages() -> None:
    found = index(
        entry("aa", Depends="bb (>= 1) | cc, virtual:any", Pre_Depends="dd [amd64]"),
        entry("cc", Depends="aa"),
        entry("dd"),
        entry("real", Provides="virtual (= 1), other"),
    ).closure(["aa"])
    assert list(found) == ["aa", "cc", "dd", "real"]


def test_what_only_scripts_need_is_left_out_unless_asked_for() -> None:
    packages = index(entry("a", Depends="debconf (>= 1) | debconf-2.0, perl"), entry("perl"))
    assert list(packages.closure(["a"])) == ["a"]
    assert list(packages.closure(["a", "perl"])) == ["a", "perl"]


def test_what_is_known_is_not_taken_again() -> None:
    packages = index(entry("a", Depends="libc"), entry("libc", Depends="gone"))
    assert list(packages.closure(["a"], known=["libc"])) == ["a"]


def test_adding_a_package_the_image_has_in_part_adds_what_the_rest_of_it_needs() -> None:
    packages = index(entry("tool", "2.0", Depends="libc, libdb"), entry("libdb", Depends="libc"))
    base = Lock({name: Index([entry(name)]).package(name) for name in ("tool", "libc")})
    lock = with_added(base, ("tool",), packages)
    assert sorted(lock.packages) == ["libc", "libdb", "tool"]
    assert lock.packages["tool"].version == "1.0"  # what is there stays as it is
    assert (lock.add, lock.whole) == (("tool",), ("libdb", "tool"))


def test_an_unknown_package_is_named() -> None:
    with pytest.raises(PackageMissing, match="no package nosuch"):
        index(entry("a")).closure(["nosuch"])


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9.+-]{1,9}", fullmatch=True), unique=True, max_size=6),
    st.data(),
)
def test_a_closure_has_all_that_is_needed_and_nothing_else(
    names: list[str], data: st.DataObject
) -> None:
    needs = {name: data.draw(st.lists(st.sampled_from(names), max_size=3)) for name in names}
    packages = index(*(entry(name, Depends=", ".join(needs[name])) for name in names))
    asked = data.draw(st.lists(st.sampled_from(names), max_size=2)) if names else []
    expected: set[str] = set()
    todo = list(asked)
    while todo:
        name = todo.pop()
        if name not in expected:
            expected.add(name)
            todo.extend(one for one in needs[name] if one != "tar")
    assert set(packages.closure(asked)) == expected


PACKAGE = Package("a", "1:2-3", "pool/main/a.deb", "ab" * 32, 12)


def test_a_lock_comes_back_as_it_was_written() -> None:
    lock = Lock({"a": PACKAGE}, ("a",), ("a",))
    assert read_lock(write_lock(lock), "here") == lock


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("[]", "indices"),
        ('{"format": 2}', "format is 2"),
        ('{"format": 1, "add": [], "whole": []}', "packages"),
        (write_lock(Lock({"a": PACKAGE})).replace("abab", "xx"), "sha256"),
        (write_lock(Lock({"a": PACKAGE})).replace("pool/", "../"), "leaves the mirror"),
        (write_lock(Lock({"a": PACKAGE})).replace("pool/", "/pool/"), "leaves the mirror"),
    ],
)
def test_a_broken_lock_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(PackageInvalid, match=f"cannot read the lock file here.*{why}"):
        read_lock(text, "here")


class Site:
    """Files by their address."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def suite(self, base: str, text: str, origin: str = "Debian") -> None:
        packed = lzma.compress(text.encode())
        digest = hashlib.sha256(packed).hexdigest()
        release = f"Origin: {origin}\nSHA256:\n {digest} {len(packed):>8} {INDEX_FILE}\n"
        self.files |= {f"{base}/InRelease": release.encode(), f"{base}/{INDEX_FILE}": packed}


def test_the_index_of_every_debian_suite_is_read_and_others_are_left_out() -> None:
    site = Site()
    site.suite("http://m/debian/dists/bookworm", entry("a"))
    site.suite("http://m/security/dists/bookworm-security", entry("a", "1.1"))
    site.suite("http://m/tools/dists/bookworm", entry("tool"), "Somebody")
    mirrors = [
        Mirror("http://m/debian", ("bookworm", "bookworm-updates")),
        Mirror("http://m/security", ("bookworm-security",)),
        Mirror("http://m/tools", ("bookworm",)),
    ]
    found = read_index(mirrors, site.files.get)
    assert found.package("a").version == "1.1"
    assert "tool" not in found


def test_an_index_that_its_release_does_not_name_is_refused() -> None:
    site = Site()
    site.suite("http://m/dists/bookworm", entry("a"))
    site.files[f"http://m/dists/bookworm/{INDEX_FILE}"] += b"x"
    with pytest.raises(PackageInvalid, match="checksum differs"):
        read_index([Mirror("http://m")], site.files.get)


def test_no_debian_archive_says_what_to_set() -> None:
    with pytest.raises(MirrorMissing, match="LABKIT_MIRROR"):
        read_index([Mirror("http://m")], Site().files.get)
