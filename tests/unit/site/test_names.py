# SPDX-License-Identifier: GPL-2.0-only
"""Paths of pages: harmless, short, and different for different texts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.site import names
from tests.unit.report import hostile

_HARMLESS = re.compile(r"[A-Za-z0-9_=+-][A-Za-z0-9_.=+-]{0,140}")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hgm/continue-4k/1G", "hgm+continue-4k+1G"),
        ("../../x", "=2e.+..+x"),
        (".", "=2e"),
        ("", "=empty"),
        ("<b>", "=3cb=3e"),
        ("a+b=c", "a=2bb=3dc"),
        ("é", "=c3=a9"),
        ("\udc80", "=ed=b2=80"),
    ],
)
def test_a_text_becomes_a_file_name(text: str, name: str) -> None:
    assert names.file_name(text) == name


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_different_texts_have_different_names(texts: list[str]) -> None:
    one, two = map(names.file_name, texts)
    assert one != two
    assert _HARMLESS.fullmatch(one)


def test_what_a_guest_prints_has_no_power_in_a_path() -> None:
    found = {names.probe(text) for text in hostile.LINES}
    assert len(found) == len(set(hostile.LINES))
    for path in found:
        folder, name = path.split("/")
        assert folder == "probe"
        assert _HARMLESS.fullmatch(name.removesuffix(".html"))
