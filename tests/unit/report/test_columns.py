# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of things."""

from __future__ import annotations

import pytest

from harness.report import columns
from harness.report.history import category


@pytest.mark.parametrize(("number", "words"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_a_noun_has_its_number(number: int, words: str) -> None:
    assert columns.count(number, "run") == words


def test_only_the_categories_that_are_nouns_have_a_plural() -> None:
    assert category(1, "new pass") == "1 new pass"
    assert category(2, "new pass") == "2 new passes"
    assert category(2, "still failing") == "2 still failing"
