# SPDX-License-Identifier: GPL-2.0-only
"""Series by name."""

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.kernel import registry, specs


def _listing(directory: Path, text: str) -> Path:
    (directory / "series.toml").write_text(text)
    return directory


def test_each_listed_series_is_a_quilt_directory() -> None:
    found = registry.load()
    assert "hgm-6.12" in {series.name for series in found}
    for series in found:
        assert (Path(series.directory) / "series").is_file(), series


@pytest.mark.parametrize("version", ["6.12", "7.3"])
def test_source_named_in_default_for_gets_the_series(version: str) -> None:
    series = registry.default_for(f"debian:linux-source-{version}", "x86_64")
    assert series is not None
    assert (series.name, series.gives) == (f"hgm-{version}", "hgm-reference")


def test_the_series_of_a_package_is_that_of_its_versions() -> None:
    for chosen in ("=6.12.107-1", "@bookworm", "@trixie=6.12.107-1"):
        series = registry.default_for(f"debian:linux-source-6.12{chosen}", "x86_64")
        assert series is not None
        assert series.name == "hgm-6.12"


@pytest.mark.parametrize(
    "source", ["debian:linux-source-6.1", "tree:/src/linux", "git:/src/linux@v6.12", "image:/x"]
)
def test_no_other_source_is_patched_unasked(source: str) -> None:
    assert registry.default_for(source, "x86_64") is None


@pytest.mark.parametrize(
    ("series", "expected"),
    [("hgm-6.12", "hgm-reference"), ("none", "report"), ("dir:/patches", "report")],
)
def test_default_of_expect(series: str, expected: str) -> None:
    assert registry.expectation(series) == expected


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SpecError) as caught:
        registry.find("hgm-6.13")
    assert "hgm-6.13" in caught.value.message
    assert "hgm-6.12" in (caught.value.hint or "")


def test_a_series_was_tested_with_what_the_one_below_it_was() -> None:
    version = registry.find("hgm-6.12").tested
    assert version.startswith("6.12.")
    assert registry.tested_with("hgm-6.12", "6.12.118") == version
    assert registry.tested_with("crashes-6.12", "6.12.118") == version
    assert registry.tested_with("hgm-6.12", "6.1.190") == ""
    assert registry.tested_with("dir:/p", "6.12.118") == ""


def test_version_it_was_not_made_for_gives_a_warning() -> None:
    assert registry.version_warning("hgm-6.12", "6.12.117") == ""
    assert "6.1.170" in registry.version_warning("hgm-6.12", "6.1.170")
    assert registry.version_warning("none", "6.1.170") == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("hgm-6.12", "name"),
        ("none", "none"),
        ("dir:x", "dir"),
        ("mbox:x", "mbox"),
        ("fault:x", "fault"),
    ],
)
def test_bare_word_is_a_name(text: str, kind: str) -> None:
    assert specs.parse_series(text).kind == kind


@pytest.mark.parametrize("text", ["../hgm-6.12", "a/b", ".hidden", "-x", "dir:", "a b"])
def test_path_is_not_a_name(text: str) -> None:
    with pytest.raises(SpecError):
        specs.parse_series(text)


@pytest.mark.parametrize(
    "text", ["[a]\nshows = 'x'\n", "[a]\nshows='x'\nmade_for='6.'\nodd=1\n", "not toml"]
)
def test_invalid_list_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match=r"series\.toml"):
        registry.load(_listing(tmp_path, text))
