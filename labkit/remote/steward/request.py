"""One request of a client: its arguments, its input and its answer."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Protocol

    Facts = dict[str, Any]
    Verb = Callable[["Request"], None]

    class Answers(Protocol):
        """What a request needs of its client's connection."""

        requests: dict[int, Request]
        backlog: int
        subscribed: bool

        def send(self, facts: Facts, data: bytes | memoryview) -> None: ...


WINDOW = 1 << 20  # bytes of a request on the way and not yet taken, each way


class Problem(Exception):
    """A request that cannot be done: a stable word, and facts as plain values."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


class Request:
    """One thing a client wants, from its frame to its one answer.

    A verb answers at once or keeps the request and answers later. It sets `on_more` to be given
    input (and calls `took` when it has used it), `on_cancel` to be told that the client wants no
    more of it or is gone, `on_room` to be told that `room` has grown.
    """

    def __init__(self, client: Answers, number: int, facts: Facts, data: bytes) -> None:
        self.id = number
        self.arguments = facts
        self.data = data
        self.done = False
        self.on_more: Callable[[Facts, bytes], None] | None = None
        self.on_cancel: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None
        self._client = client
        self._sent = 0
        self._given = 0
        self._taken = 0  # of it, and not yet reported: that is done in lumps

    # answers

    def part(self, facts: Facts, data: bytes | memoryview = b"") -> None:
        """A piece of the answer; whoever sends many minds `room`."""
        if not self.done:
            self._sent += len(data)
            self._client.send({"id": self.id, "part": facts}, data)

    def ok(self, facts: Facts | None = None, data: bytes | memoryview = b"") -> None:
        self._answer({"id": self.id, "ok": facts or {}}, data)

    def problem(self, code: str, **facts: Any) -> None:
        self._answer({"id": self.id, "problem": {"code": code, **facts}}, b"")

    def _answer(self, facts: Facts, data: bytes | memoryview) -> None:
        if not self.done:
            self.done = True
            self._client.requests.pop(self.id, None)
            self._client.send(facts, data)

    # flow

    @property
    def room(self) -> int:
        """How many bytes may be sent as parts now; 0 or less: wait for `on_room`."""
        return 0 if self.done else min(WINDOW - self._sent, WINDOW - self._client.backlog)

    def took(self, size: int) -> None:
        """The verb has used `size` bytes of input: the client may send as many more."""
        self._given -= size
        self._taken += size
        if self._taken >= WINDOW // 8 and not self.done:
            taken, self._taken = self._taken, 0
            self._client.send({"id": self.id, "took": taken}, b"")

    def more(self, facts: Facts, data: bytes) -> None:
        """Input from the client."""
        self._given += len(data)
        if self.on_more is None:
            raise Problem("bad-request", reason="this request takes no input")
        if self._given > WINDOW:
            raise Problem("bad-request", reason="more input than was asked for", window=WINDOW)
        self.on_more(facts, data)

    def credit(self, size: int) -> None:
        """The client has used `size` bytes of what it was sent."""
        self._sent -= min(size, self._sent)
        self.breathe()

    def breathe(self) -> None:
        """Tell the verb when it may send again."""
        if self.on_room is not None and self.room > 0:
            self.on_room()

    def cancel(self) -> None:
        """End it without a word: the client is gone or does not want it."""
        if not self.done:
            self.done = True
            self._client.requests.pop(self.id, None)
            if self.on_cancel is not None:
                self.on_cancel()

    def subscribe(self) -> None:
        """Send events to this client from now on."""
        self._client.subscribed = True

    # arguments

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self.arguments.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(name, "a whole number from %d to %d" % (low, high))
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        value = self.arguments.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(name, "a number")
        if not low <= value <= high:
            self.refuse(name, "a number from %g to %g" % (low, high))
        return float(value)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.arguments.get(name, default)
        if not isinstance(value, str) or not value or "\0" in value:
            self.refuse(name, "text")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of words."""
        value = self.arguments.get(name)
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self.refuse(name, "a list of texts")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.arguments.get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def facts(self, name: str) -> Facts:
        value = self.arguments.get(name, {})
        if not isinstance(value, dict):
            self.refuse(name, "an object")
        return value

    def refuse(self, name: str, wanted: str) -> NoReturn:
        value = json.dumps(self.arguments.get(name))[:80]
        raise Problem("bad-request", argument=name, value=value, wanted=wanted)
