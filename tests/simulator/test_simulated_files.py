"""The simulated files behave as those of a POSIX system, down to the error numbers."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.simulator.clock import Clock
from labkit.simulator.files import BLOCK, FileTree

NAMES = st.sampled_from(["a", "b", "c"])
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["write", "append", "remove", "rename", "mkdir"]), NAMES, NAMES),
    max_size=30,
)


def number_of(call: object, *arguments: object, **options: object) -> int:
    with pytest.raises(OSError) as caught:
        call(*arguments, **options)  # type: ignore[operator]
    assert caught.value.errno is not None
    return caught.value.errno


def test_a_file_is_written_read_and_removed() -> None:
    files = FileTree()
    files.write("~/notes", b"one")
    files.write("~/notes", b" two", append=True)
    assert files.read("/home/ubuntu/notes") == b"one two"
    assert files.names("~") == ["notes"]
    assert files.status("~/notes").owner == "ubuntu"
    files.remove("~/notes")
    assert files.find("~/notes") is None


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("~/absent", errno.ENOENT),
        ("~/absent/file", errno.ENOENT),
        ("~/file/below", errno.ENOTDIR),
        ("~", errno.EISDIR),
    ],
)
def test_reading_what_is_no_file(path: str, number: int) -> None:
    files = FileTree()
    files.write("~/file", b"")
    assert number_of(files.read, path) == number


def test_what_belongs_to_others_cannot_be_changed() -> None:
    files = FileTree()
    assert number_of(files.write, "/srv/x", b"") == errno.EACCES
    assert number_of(files.make_folder, "/srv/x") == errno.EACCES
    files.write("~/mine", b"x")
    files.change_mode("~/mine", 0o000)
    assert number_of(files.read, "~/mine") == errno.EACCES
    assert number_of(files.write, "~/mine", b"y") == errno.EACCES
    files.change_owner("~", "root")
    assert number_of(files.remove, "~/mine") == errno.EACCES


def test_folders() -> None:
    files = FileTree()
    files.make_folder("~/a/b", parents=True)
    files.make_folder("~/a/b", parents=True)
    assert number_of(files.make_folder, "~/a") == errno.EEXIST
    assert number_of(files.make_folder, "~/x/y") == errno.ENOENT
    assert number_of(files.remove_folder, "~/a") == errno.ENOTEMPTY
    assert number_of(files.remove, "~/a") == errno.EISDIR
    assert number_of(files.rename, "~/a", "~/a/b/c") == errno.EINVAL
    files.remove_folder("~/a/b")
    assert files.names("~/a") == []


def test_fault_04_exclusive_writing_never_replaces() -> None:
    files = FileTree()
    files.write("~/disk", b"mine", exclusive=True)
    assert number_of(files.write, "~/disk", b"yours", exclusive=True) == errno.EEXIST
    assert files.read("~/disk") == b"mine"


def test_a_full_disk_changes_nothing() -> None:
    files = FileTree(capacity=10 * BLOCK)
    files.write("~/old", bytes(8 * BLOCK))
    assert files.free == 2 * BLOCK
    assert number_of(files.write, "~/new", bytes(3 * BLOCK)) == errno.ENOSPC
    assert files.find("~/new") is None
    assert number_of(files.write, "~/old", bytes(3 * BLOCK), append=True) == errno.ENOSPC
    assert len(files.read("~/old")) == 8 * BLOCK
    files.remove("~/old")
    files.write("~/new", bytes(10 * BLOCK))
    assert files.free == 0


@given(ACTIONS)
def test_room_is_what_the_files_take(actions: list[tuple[str, str, str]]) -> None:
    files = FileTree()
    for verb, name, other in actions:
        try:
            if verb == "remove":
                files.remove(f"~/{name}")
            elif verb == "rename":
                files.rename(f"~/{name}", f"~/{other}")
            elif verb == "mkdir":
                files.make_folder(f"~/{name}/{other}", parents=True)
            else:
                files.write(f"~/{name}", bytes(5000), append=verb == "append")
        except OSError:
            continue
    taken = sum(node.room for _path, node in files.walk("~"))
    assert files.free == files.capacity - taken


def test_every_change_has_its_time() -> None:
    clock = Clock()
    files = FileTree(clock)
    first = files.write("~/a", b"1").modified
    second = files.write("~/a", b"2").modified
    clock.advance(60)
    third = files.write("~/a", b"3").modified
    assert first < second < third
    assert third // 10**9 - second // 10**9 == 60


def test_attributes_go_with_their_file() -> None:
    files = FileTree()
    files.write("~/a", b"")
    files.set_attribute("~/a", "user.labkit", b"{}")
    files.rename("~/a", "~/b")
    assert files.attribute("~/b", "user.labkit") == b"{}"
    assert files.attribute("~/b", "user.other") is None
    files.has_attributes = False
    assert number_of(files.set_attribute, "~/b", "user.labkit", b"") == errno.ENOTSUP
