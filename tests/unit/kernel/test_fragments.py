# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigError, SpecError
from harness.kernel import fragments
from harness.kernel.fragments import Fragment


def fragment(text: str) -> Fragment:
    return Fragment(name="test", path="test.config", text=text)


def test_directives_belong_to_the_next_symbol_only() -> None:
    text = """
# a comment
CONFIG_A=y
# hgm: since 6.5 optional
# hgm: until 6.10
CONFIG_B="text"
# CONFIG_C is not set
"""
    a, b, c = fragments.parse(fragment(text))
    assert (a.symbol, a.value, a.optional, a.since) == ("A", "y", False, None)
    assert (b.value, b.optional, b.since, b.until) == ('"text"', True, (6, 5), (6, 10))
    assert (c.symbol, c.value, c.optional) == ("C", "n", False)
    assert b.where == "test.config:6"


@pytest.mark.parametrize(
    "text",
    [
        "CONFIG A=y",
        "# hgm: maybe\nCONFIG_A=y",
        "# hgm: since six\nCONFIG_A=y",
        "# hgm: optional\n\nCONFIG_A=y",
        "CONFIG_A=y\n# hgm: optional",
    ],
)
def test_bad_line_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.config"):
        fragments.parse(fragment(text))


@pytest.mark.parametrize(
    ("version", "fits"),
    [("6.4.9", False), ("6.5.0", True), ("6.10.1", True), ("6.11", False), ("7.0.0", False)],
)
def test_range_counts_both_ends(version: str, fits: bool) -> None:
    (request,) = fragments.parse(fragment("# hgm: since 6.5 until 6.10\nCONFIG_A=y"))
    assert request.fits(version) is fits


def test_later_fragment_wins_and_a_left_out_symbol_is_noted() -> None:
    first = fragment("CONFIG_A=y\n# hgm: since 6.5\nCONFIG_NEW=y\n# hgm: until 6.4\nCONFIG_OLD=y")
    second = fragment("# CONFIG_A is not set")
    requests, notes = fragments.merge((first, second), "6.1.5")
    assert [request.line() for request in requests] == ["# CONFIG_A is not set", "CONFIG_OLD=y"]
    assert notes == ("CONFIG_NEW: not requested for 6.1.5: its fragment says since 6.5",)


def test_symbol_with_a_value_for_each_range_is_not_left_out() -> None:
    both = fragment("# hgm: until 6.4\nCONFIG_A=1\n# hgm: since 6.5\nCONFIG_A=2")
    for version, value in (("6.1.0", "1"), ("6.12.0", "2")):
        requests, notes = fragments.merge((both,), version)
        assert [request.value for request in requests] == [value]
        assert notes == ()


def test_unmet_compares_values_as_kconfig_does() -> None:
    requests = fragments.parse(
        fragment('CONFIG_Y=y\nCONFIG_M=y\nCONFIG_HEX=0x10\nCONFIG_S=""\nCONFIG_N=n\nCONFIG_X=n\n')
    )
    config = "CONFIG_Y=y\nCONFIG_M=m\nCONFIG_HEX=16\n# CONFIG_N is not set\nCONFIG_X=y\n"
    assert [request.symbol for request in fragments.unmet(requests, config)] == ["M", "X"]


def test_unknown_feature_lists_what_exists() -> None:
    with pytest.raises(SpecError) as caught:
        fragments.load(["nonsense"])
    assert "base, crashes, debug, debuginfo, hgm, kasan" in caught.value.line()


def test_fragment_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.config"
    path.write_text("CONFIG_A=y\n")
    assert [f.name for f in fragments.load([str(path)])] == ["base", "hgm", str(path)]


@pytest.mark.parametrize("path", sorted(fragments.DIRECTORY.glob("*.config")))
@pytest.mark.parametrize("version", ["6.1.0", "6.12.0"])
def test_own_fragments_parse_and_ask_for_each_symbol_once(path: Path, version: str) -> None:
    (loaded,) = [f for f in fragments.load([str(path)]) if f.path == str(path)][:1]
    requests = [request.symbol for request in fragments.parse(loaded) if request.fits(version)]
    assert requests
    assert len(requests) == len(set(requests))


def test_objects_with_debug_information() -> None:
    text = "# hgm-debug-info: hugetlb core=-fno-x\nCONFIG_A=y\n# hgm-debug-info: memory-failure\n"
    fragment = fragments.Fragment(name="x", path="x", text=text)
    assert fragments.debug_objects([fragment, fragment]) == (
        "CFLAGS_hugetlb.o=-g",
        "CFLAGS_core.o=-g -fno-x",
        "CFLAGS_memory-failure.o=-g",
    )
    assert [request.symbol for request in fragments.parse(fragment)] == ["A"]
    assert fragments.debug_objects(fragments.load(["debug"])) == ()
    assert "CFLAGS_hugetlb.o=-g" in fragments.debug_objects(fragments.load(["debuginfo"]))


@pytest.mark.parametrize(
    ("known", "nearest"),
    [
        ({}, ""),
        ({"one": "A\nB\n"}, "one"),
        ({"far": "X\nY\nZ\n", "near": "A\nB\nX\n", "less": "A\n"}, "near"),
    ],
)
def test_nearest(known: dict[str, str], nearest: str) -> None:
    assert fragments.nearest("A\nB\n", known) == nearest
