"""The guest's end of the channel: frames read from a stream that may have been cut off anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.remote.steward.lane import FILLER, HEADER, HEADER_LIMIT, HELLO, PAYLOAD

Frame = tuple[str, str, bytes]  # verb, token, payload


class Reader:
    """Whole frames out of bytes. Where one was cut off, nothing is one until the next hello."""

    def __init__(self) -> None:
        self._in = bytearray()
        self._lost = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._in += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        while True:
            if self._lost and not self._found():
                return None
            rest = self._in.lstrip(b"\0\n")
            del self._in[: len(self._in) - len(rest)]
            end = self._in.find(b"\n", 0, HEADER_LIMIT)
            if end < 0:
                if len(self._in) < HEADER_LIMIT:
                    return None
                self._lost = True
                continue
            match = HEADER.match(bytes(self._in[:end]))
            stop = end + 1 + int(match.group(3)) if match else 0
            if match is None or stop - end - 1 > PAYLOAD:
                self._lost = True
                continue
            if stop >= len(self._in):
                return None
            if self._in[stop] != 10:
                self._lost = True
                continue
            payload = bytes(self._in[end + 1 : stop])
            del self._in[: stop + 1]
            return match.group(1).decode(), match.group(2).decode(), payload

    def _found(self) -> bool:
        """Skip to the next hello."""
        place = self._in.find(HELLO)
        if place < 0:
            del self._in[: max(0, len(self._in) - len(HELLO) + 1)]
            return False
        del self._in[:place]
        self._lost = False
        return True


def frame(verb: str, token: str, payload: bytes = b"") -> bytes:
    return f"LK {verb} {token} {len(payload)}\n".encode() + payload + b"\n"


def pairs(payload: bytes) -> list[tuple[str, str]]:
    """The fields of a payload; names may come more than once."""
    split = (item.partition(b"=") for item in payload.split(b"\0") if item)
    return [
        (name.decode(errors="replace"), value.decode("utf-8", "surrogateescape"))
        for name, _, value in split
    ]


__all__ = ["FILLER", "PAYLOAD", "Reader", "frame", "pairs"]
