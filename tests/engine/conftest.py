"""Failed assertions of the contract are explained as those of its suites are."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("engine_contract")
