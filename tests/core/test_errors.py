"""Every error says what, why and what to do, and is caught as users would catch it."""

from __future__ import annotations

import inspect
import re

import pytest

from labkit import errors
from labkit.errors import LabError, LabkitError, UsageError

ALL = [getattr(errors, name) for name in errors.__all__]


def test_the_text_has_what_why_and_fix() -> None:
    error = errors.DiskFull("no room on w1", why="2 MB are free", fix="Free some.", host="w1")
    assert str(error) == "no room on w1: 2 MB are free. Free some."
    assert (error.what, error.why, error.fix) == ("no room on w1", "2 MB are free", "Free some.")
    assert error.context == {"host": "w1"}


def test_the_text_without_why_or_fix() -> None:
    assert str(LabError("it broke")) == "it broke"
    assert str(LabError("it broke", fix="Mend it.")) == "it broke. Mend it."


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidArgument, ValueError),
        (errors.UnknownFlavor, LookupError),
        (errors.WorkerUnreachable, ConnectionError),
        (errors.ConnectionLost, ConnectionError),
        (errors.CommandTimeout, TimeoutError),
        (errors.BaseImageMissing, FileNotFoundError),
        (errors.OverlayExists, FileExistsError),
        (errors.DiskFull, OSError),
        (errors.AuthenticationRefused, PermissionError),
    ],
)
def test_leaves_are_caught_as_their_builtin(
    error: type[LabkitError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match=r"a: b\. C\."):
        raise error("a", why="b", fix="C.", path="/x")


def test_every_error_is_the_callers_or_the_labs() -> None:
    for error in ALL:
        if error is not LabkitError:
            assert issubclass(error, UsageError) != issubclass(error, LabError), error


def test_codes_are_unique_words() -> None:
    codes = [error.code for error in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", inspect.getdoc(errors) or ""))
    assert drawn | {"LabkitError"} == set(errors.__all__)
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, LabkitError)
    }
    assert defined == set(errors.__all__)
