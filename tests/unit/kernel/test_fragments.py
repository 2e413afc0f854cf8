# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.arch import Arch, arch
from harness.errors import ConfigError, SpecError
from harness.kernel import fragments
from harness.kernel.fragments import Fragment

X86, ARM64 = arch("x86_64"), arch("arm64")


def fragment(text: str, **fields: Any) -> Fragment:
    return Fragment(
        **{"name": "test", "path": "test.config", "text": text, "arch": "x86_64", **fields}
    )


def test_optional_belongs_to_the_next_symbol_only() -> None:
    text = """
# a comment
CONFIG_A=y
# hgm: optional
CONFIG_B="text"
# CONFIG_C is not set
"""
    a, b, c = fragments.parse(fragment(text))
    assert (a.symbol, a.value, a.need) == ("A", "y", "always")
    assert (b.value, b.need) == ('"text"', "optional")
    assert (c.symbol, c.value, c.need) == ("C", "n", "always")
    assert b.where == "test.config:5"


def test_a_fragment_of_ours_can_insist_on_a_symbol() -> None:
    a, b = fragments.parse(fragment("# hgm: needed\nCONFIG_A=y\nCONFIG_B=y\n", need="if known"))
    assert (a.need, b.need) == ("always", "if known")


@pytest.mark.parametrize(
    "text",
    [
        "CONFIG A=y",
        "# hgm: maybe\nCONFIG_A=y",
        "# hgm: since 6.5\nCONFIG_A=y",
        "# hgm: optional\n\nCONFIG_A=y",
        "# hgm: needed\n\nCONFIG_A=y",
        "# hgm: optional\n# why\nCONFIG_A=y",
        "CONFIG_A=y\n# hgm: optional",
    ],
)
def test_bad_line_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.config"):
        fragments.parse(fragment(text))


def test_later_fragment_wins() -> None:
    requests = fragments.merge((fragment("CONFIG_A=y\nCONFIG_B=y"), fragment("CONFIG_A=n")))
    assert [request.line() for request in requests] == ["# CONFIG_A is not set", "CONFIG_B=y"]


def test_what_is_required_cannot_be_turned_off() -> None:
    text = "# A file.\n\n# Two lines of\n# reason.\nCONFIG_A=y\nCONFIG_B=y\n# More.\nCONFIG_C=y\n"
    required = fragment(text, name="required")
    assert [each.reason for each in fragments.parse(required)] == [
        "Two lines of reason.",
        "Two lines of reason.",
        "More.",
    ]
    mine = fragment("# hgm: optional\nCONFIG_A=y\n# CONFIG_B is not set\n", path="mine.config")
    with pytest.raises(ConfigError) as caught:
        fragments.merge((required, mine))
    assert "mine.config:3: `# CONFIG_B is not set`, but the harness needs" in caught.value.line()
    assert "CONFIG_B=y: Two lines of reason." in caught.value.line()
    same = fragment("# hgm: optional\nCONFIG_A=y\n")
    a, *_ = fragments.merge((required, same))
    assert (a.need, a.where) == ("always", "test.config:5")


def test_unmet_compares_values_as_kconfig_does() -> None:
    requests = fragments.parse(
        fragment('CONFIG_Y=y\nCONFIG_M=y\nCONFIG_HEX=0x10\nCONFIG_S=""\nCONFIG_N=n\nCONFIG_X=n\n')
    )
    config = "CONFIG_Y=y\nCONFIG_M=m\nCONFIG_HEX=16\n# CONFIG_N is not set\nCONFIG_X=y\n"
    assert [request.symbol for request in fragments.unmet(requests, config)] == ["M", "X"]


def test_unknown_feature_lists_what_exists() -> None:
    with pytest.raises(SpecError) as caught:
        fragments.load(["nonsense"], X86)
    assert (
        "base, cma, coverage, crashes, debug, debuginfo, failslab, hgm, kasan, kselftest, kvm, "
        "no-hgm, required, swap, ubsan, udmabuf" in caught.value.line()
    )


def test_fragment_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.config"
    path.write_text("CONFIG_A=y\n")
    required, base, hgm, mine = fragments.load([str(path)], X86)
    names = [f.name for f in (required, base, hgm, mine)]
    assert names == ["required", "base", "hgm", str(path)]
    assert [f.need for f in (required, base, hgm, mine)] == [
        "always",
        "if known",
        "if known",
        "always",
    ]
    assert (base.path, mine.path) == ("kernel-configs/base.config", str(path))


@pytest.mark.parametrize(("guest", "symbols"), [(X86, ["A", "B", "D"]), (ARM64, ["A", "C", "D"])])
def test_a_block_is_for_one_architecture(guest: Arch, symbols: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.config"
    path.write_text(
        "CONFIG_A=y\n# hgm: only amd64\nCONFIG_B=y\n\n"
        "# hgm: only arm64\nCONFIG_C=y\n\n# hgm: only x86_64\n\nCONFIG_D=y\n"
    )
    *_, mine = fragments.load([str(path)], guest)
    assert [request.symbol for request in fragments.parse(mine)] == symbols


def test_a_block_for_no_architecture_is_refused() -> None:
    with pytest.raises(SpecError, match="there is no guest architecture 'riscv'"):
        fragments.parse(
            Fragment(name="x", path="x", text="# hgm: only riscv\nCONFIG_A=y\n", arch="x86_64")
        )


@pytest.mark.parametrize("guest", [X86, ARM64])
@pytest.mark.parametrize("path", sorted(fragments.DIRECTORY.glob("*.config")))
def test_own_fragments_parse_and_ask_for_each_symbol_once(path: Path, guest: Arch) -> None:
    *_, loaded = fragments.load([str(path)], guest)
    requests = [request.symbol for request in fragments.parse(loaded)]
    assert requests
    assert len(requests) == len(set(requests))


def test_every_required_symbol_has_its_reason() -> None:
    required, base, *_ = fragments.load([], X86)
    assert all(request.reason for request in fragments.parse(required))
    asked = {request.symbol for request in fragments.parse(required)}
    assert asked.isdisjoint(request.symbol for request in fragments.parse(base))


def test_objects_with_debug_information() -> None:
    text = "# hgm-debug-info: hugetlb core=-fno-x\nCONFIG_A=y\n# hgm-debug-info: memory-failure\n"
    fragment = fragments.Fragment(name="x", path="x", text=text, arch="x86_64")
    assert fragments.make_variables([fragment, fragment]) == (
        "CFLAGS_hugetlb.o=-g",
        "CFLAGS_core.o=-g -fno-x",
        "CFLAGS_memory-failure.o=-g",
    )
    assert [request.symbol for request in fragments.parse(fragment)] == ["A"]
    assert fragments.make_variables(fragments.load(["debug"], X86)) == ()
    assert "CFLAGS_hugetlb.o=-g" in fragments.make_variables(fragments.load(["debuginfo"], X86))


def test_sources_whose_lines_are_counted() -> None:
    text = "# hgm-coverage: mm/hugetlb.c fs/userfaultfd.c\n# hgm-coverage: mm/userfaultfd.c\n"
    fragment = fragments.Fragment(name="x", path="x", text=text, arch="x86_64")
    assert fragments.counted_sources([fragment, fragment]) == (
        *("mm/hugetlb.c", "fs/userfaultfd.c", "mm/userfaultfd.c"),
    )
    assert fragments.make_variables([fragment]) == (
        "GCOV_PROFILE_hugetlb.o=y",
        "GCOV_PROFILE_userfaultfd.o=y",
    )
    assert fragments.counted_sources(fragments.load(["debuginfo"], X86)) == ()
    assert "mm/hugetlb.c" in fragments.counted_sources(fragments.load(["coverage"], X86))


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
