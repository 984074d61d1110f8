"""A property of every executor: no text is ever read by a shell."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.executor import Executor
from thorough import examples

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
SHELL = st.text("'\"\\$`;&|<>(){}[]*?!~#=- \t\nab%", max_size=40)


class ArgumentProperty:
    """Mixed into the contract's subclasses."""

    @pytest.mark.slow
    @settings(
        max_examples=examples(60),
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(words=st.lists(WORDS | SHELL, min_size=1, max_size=4))
    def test_fault_06_any_text_reaches_the_program_unchanged(
        self, executor: Executor, host: str, words: list[str]
    ) -> None:
        result = executor.run(host, ("printf", "<%s>", *words))
        assert result.stdout == "".join(f"<{word}>" for word in words).encode()
