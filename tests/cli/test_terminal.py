"""A terminal lent to a VM: a real one, and the other side in memory."""

from __future__ import annotations

import os
import pty
import queue
import termios
import threading
from collections.abc import Iterator

import pytest

from labkit.cli.terminal import LEAVE, Loan
from labkit.errors import CommandTimeout, ConnectionLost


class OtherSide:
    """What a VM would be: says what a test puts, keeps what is typed."""

    def __init__(self) -> None:
        self.says: queue.Queue[bytes | Exception] = queue.Queue()
        self.typed = b""
        self.heard = threading.Condition()

    def read(self, size: int, timeout: float) -> bytes:
        word = self.says.get(timeout=30)
        if isinstance(word, Exception):
            raise word
        return word

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        with self.heard:
            self.typed += bytes(data)
            self.heard.notify_all()

    def close(self) -> None:
        self.says.put(b"")

    def wait_for(self, typed: bytes) -> None:
        with self.heard:
            assert self.heard.wait_for(lambda: self.typed == typed, 30), self.typed


class Person:
    """Sits at the terminal; the loan runs in the main thread, as signals need."""

    def __init__(self) -> None:
        self.hand, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)

    def press(self, keys: bytes) -> None:
        os.write(self.hand, keys)

    def see(self, text: bytes) -> None:
        seen = b""
        while text not in seen:
            seen += os.read(self.hand, 4096)

    def close(self) -> None:
        os.close(self.hand)
        os.close(self.terminal)


@pytest.fixture
def person() -> Iterator[Person]:
    person = Person()
    yield person
    person.close()


def lend(person: Person, vm: OtherSide, story: object) -> bool:
    """Run a loan while `story` happens in a thread."""
    thread = threading.Thread(target=story)  # type: ignore[arg-type]
    thread.start()
    try:
        return Loan(vm, person.terminal, person.terminal, None).run()
    finally:
        thread.join()


def test_keys_go_there_and_words_come_here_until_it_is_left(person: Person) -> None:
    vm = OtherSide()

    def story() -> None:
        vm.says.put(b"login: ")
        person.see(b"login: ")
        person.press(b"root\r\x03\x04")  # Ctrl-C and Ctrl-D are for the VM
        vm.wait_for(b"root\r\x03\x04")
        vm.says.put(CommandTimeout("a quiet hour"))
        vm.says.put("héllo\r\n".encode())
        person.see("héllo".encode())
        person.press(b"x" + LEAVE + b"not for the VM")

    assert lend(person, vm, story) is False
    assert vm.typed == b"root\r\x03\x04x"
    assert termios.tcgetattr(person.terminal) == person.before


def test_it_ends_with_the_vm(person: Person) -> None:
    vm = OtherSide()

    def story() -> None:
        vm.says.put(b"bye")
        person.see(b"bye")
        vm.says.put(b"")

    assert lend(person, vm, story) is True
    assert termios.tcgetattr(person.terminal) == person.before


def test_a_connection_that_breaks_is_told_and_the_terminal_is_as_before(person: Person) -> None:
    vm = OtherSide()

    def story() -> None:
        vm.says.put(ConnectionLost("the connection broke"))

    with pytest.raises(ConnectionLost):
        lend(person, vm, story)
    assert termios.tcgetattr(person.terminal) == person.before
