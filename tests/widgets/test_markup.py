"""The HTML of the forms: nothing from outside is taken for markup, and errors are readable."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import vms_frame
from labkit.errors import LabError
from labkit_widgets import markup


@given(st.text(alphabet="<>&\"'abc \n"))
def test_no_text_becomes_markup(text: str) -> None:
    for shown in (
        markup.problem(text),
        markup.status(text),
        markup.title(text),
        markup.code(text),
        markup.fallback(text),
        markup.error(LabError(text, why=text, fix=text)),
        markup.error(ValueError(text)),
    ):
        assert "<a" not in shown
        assert "<b" not in shown
        assert "<c" not in shown.replace("<code>", "")


def test_an_error_says_what_why_and_what_to_do_and_folds_the_rest() -> None:
    shown = markup.error(LabError("no disk for web", why="the worker is full", fix="Free some."))
    before, details = shown.split("<details>")
    assert 'role="alert"' in before
    assert "<strong>no disk for web.</strong>" in before
    assert "<p>the worker is full.</p><p>Free some.</p>" in before
    assert "LabError" not in before
    assert "LabError" in details


def test_an_error_without_reason_is_short() -> None:
    assert markup.error(LabError("gone")).startswith(
        '<div role="alert" class="labkit-error"><p><strong>gone.</strong></p></div>'
    )


def test_an_unexpected_error_is_named_and_asks_for_a_report() -> None:
    shown = markup.error(KeyError("x"))
    assert "KeyError" in shown.split("<details>")[0]
    assert "please report it" in shown


@pytest.mark.parametrize("empty", [vms_frame([]), pd.DataFrame()])
def test_an_empty_table_says_so(empty: pd.DataFrame) -> None:
    assert "No VMs yet" in markup.table(empty)
