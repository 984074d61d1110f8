"""The transcript: lines as a person saw them, whatever the bytes and wherever they are cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit_widgets.transcript import Transcript, as_html


def lines(data: bytes) -> list[str]:
    transcript = Transcript()
    transcript.add(data)
    return transcript.lines()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"\x1b[32mgreen\x1b[0m and \x1b[1;31mred\x1b[m", ["green and red"]),
        (b"10%\r50%\r100%", ["100%"]),
        (b"lsx\b \b", ["ls"]),
        (b"abc\x1b[2DX", ["aXc"]),
        (b"abcdef\r\x1b[K", []),
        (b"a\tb", ["a       b"]),
        (b"\x1b]0;title\x07text", ["text"]),
        ("caf\u00e9 \u4e2d".encode(), ["caf\u00e9 \u4e2d"]),
        (b"\xff", ["\ufffd"]),
        (b"before\x1b[H\x1b[Jafter", ["before", "after"]),
        (b"$ vi\r\n\x1b[?1049hfull of tildes\x1b[?1049l$ ", ["$ vi", "$"]),
        (b"\x1b[6n\x1b(Btext", ["text"]),
    ],
)
def test_it_reads_as_it_was_seen(data: bytes, expected: list[str]) -> None:
    assert lines(data) == expected


def test_only_the_last_lines_are_kept_and_the_others_counted() -> None:
    transcript = Transcript(lines=10)
    transcript.add(b"".join(b"%d\n" % number for number in range(25)))
    assert transcript.lines(5)[0] == "[20 earlier lines]"
    assert transcript.lines(5)[-1] == "24"


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from(
            [b"\x1b[31m", b"\x1b[K", b"\r\n", b"\x1b]0;t\x07", "\u00e9\u4e2d".encode(), b"\x1b["]
        ),
    )
)


@given(PIECES, st.integers(1, 7))
def test_where_it_is_cut_makes_no_difference(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    cut = Transcript()
    for start in range(0, len(data), size):
        cut.add(data[start : start + size])
    assert cut.lines() == lines(data)


@given(st.binary(max_size=200))
def test_it_never_holds_what_a_terminal_would_obey(data: bytes) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", "\n".join(lines(data)))


def test_html_of_it_has_no_markup_of_the_machine() -> None:
    page = as_html("console of r1", ["<script>alert(1)</script>", "a & b"])
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\na &amp; b" in page
