# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue says what there is, and says what is wrong with itself."""

import re
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.probes import catalog
from harness.records.machine import HugePages
from harness.records.probe import ProbeSpec
from harness.vm import spec as machine_spec

ENTRY = """
[[probe]]
name = "hgm/one"
shows = "one thing"
source = "c/one.c"
budget = { 1G = 60, 2M = 30.5 }
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "catalog.toml"


def names(specs: tuple[ProbeSpec, ...]) -> list[str]:
    return [spec.name for spec in specs]


def test_one_spec_for_each_size_of_the_budget(written: Path) -> None:
    written.write_text(ENTRY + 'arguments = ["--backing", "memfd"]\nneeds = ["hgm"]\npages = 2')
    large, small = catalog.load(written)
    assert large == ProbeSpec(
        name="hgm/one/1G",
        shows="one thing",
        source="c/one.c",
        language="c",
        arguments=("--backing", "memfd", "--size", "1G"),
        needs=("hgm",),
        pages=(HugePages(size=2**30, count=2),),
        budget=60.0,
        without_series=("SKIP",),
    )
    assert (small.name, small.budget, small.pages[0].size) == ("hgm/one/2M", 30.5, 2**21)


@pytest.mark.parametrize(
    ("more", "without_series"),
    [
        ("", ()),
        ('needs = ["hgm"]', ("SKIP",)),
        ('needs = ["numa"]', ()),
        ('without_series = ["FAIL"]', ("FAIL",)),
        ('needs = ["hgm"]\nwithout_series = ["FAIL"]', ("FAIL",)),
    ],
)
def test_a_probe_that_needs_hgm_is_expected_to_skip_without(
    written: Path, more: str, without_series: tuple[str, ...]
) -> None:
    written.write_text(ENTRY + more)
    assert {spec.without_series for spec in catalog.load(written)} == {without_series}


def test_pages_may_differ_with_the_size(written: Path) -> None:
    written.write_text(ENTRY + "pages = { 2M = 3 }")
    large, small = catalog.load(written)
    assert (large.pages, small.pages) == ((), (HugePages(size=2**21, count=3),))


def test_a_python_source_needs_python(written: Path) -> None:
    written.write_text(ENTRY.replace("c/one.c", "python/one.py") + 'needs = ["hgm"]')
    spec = catalog.load(written)[0]
    assert (spec.language, spec.needs) == ("python", ("hgm", "python"))


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("budget = {", "budgets = {", "unknown field `budgets`"),
        ("1G = 60", "4K = 60", "'^(1G|2M|512M|32M|64K)$' - at `key` in `$.budget`"),
        ("{ 1G = 60, 2M = 30.5 }", "{}", "budget"),
        ("1G = 60", "1G = 0", "> 0"),
        ("1G = 60", '1G = "60"', "got `str`"),
        ("c/one.c", "../one.c", "source"),
        ("c/one.c", "c/one.sh", "source"),
        ("one thing", "", "shows"),
        ("one thing", "one\\nthing", "shows"),
        ('"one thing"', "7", "got `int`"),
        ("hgm/one", "hgm one", "name"),
        ('shows = "one thing"\n', "", "missing required field `shows`"),
        ("[[probe]]", "[[probe]]\npages = -1", ">= 0"),
        ("[[probe]]", "[[probe]]\nnodes = 0", ">= 1"),
        ("[[probe]]", '[[probe]]\nneeds = ["luck"]', "Invalid enum value 'luck'"),
    ],
)
def test_a_damaged_entry_is_named(written: Path, good: str, bad: str, said: str) -> None:
    assert good in ENTRY
    sound = ENTRY.replace("hgm/one", "hgm/sound")
    written.write_text(sound + ENTRY.replace(good, bad))
    with pytest.raises(SpecError) as caught:
        catalog.load(written)
    line = caught.value.line()
    assert str(written) in line
    assert "probe 'hgm/one'" in line or "probe 'hgm one'" in line
    assert said in line


def test_an_entry_without_a_name_is_reported_by_its_number(written: Path) -> None:
    written.write_text(ENTRY + ENTRY.replace('name = "hgm/one"\n', ""))
    with pytest.raises(SpecError, match=r"probe number 2: .*`name`"):
        catalog.load(written)


@pytest.mark.parametrize("text", ["[[probe]", "", "probe = 7", "[other]\na = 1", "\x00"])
def test_an_invalid_catalogue_is_an_error_with_its_path(written: Path, text: str) -> None:
    written.write_text(text)
    with pytest.raises(SpecError) as caught:
        catalog.load(written)
    assert str(written) in caught.value.line()


def test_an_absent_catalogue_is_an_error_with_its_path(written: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        catalog.load(written)


def test_bytes_that_are_not_text_are_an_error(written: Path) -> None:
    written.write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError):
        catalog.load(written)


def test_two_probes_of_one_name_are_an_error(written: Path) -> None:
    written.write_text(ENTRY + ENTRY)
    with pytest.raises(SpecError, match="two probes have the name 'hgm/one'"):
        catalog.load(written)


@pytest.mark.parametrize(
    ("globs", "chosen"),
    [
        ([], ["hgm/split/1G", "hgm/split/2M", "hgm/split-py/1G", "base/map/2M"]),
        (["hgm/split"], ["hgm/split/1G", "hgm/split/2M"]),
        (["hgm/split/2M"], ["hgm/split/2M"]),
        (["*/2M"], ["hgm/split/2M", "base/map/2M"]),
        (["base/*", "hgm/split*/1G"], ["base/map/2M", "hgm/split/1G", "hgm/split-py/1G"]),
        (["hgm/*", "hgm/split"], ["hgm/split/1G", "hgm/split/2M", "hgm/split-py/1G"]),
    ],
)
def test_globs_choose_in_their_order_and_then_in_the_catalogues(
    globs: list[str], chosen: list[str]
) -> None:
    all_names = ["hgm/split/1G", "hgm/split/2M", "hgm/split-py/1G", "base/map/2M"]
    specs = [ProbeSpec(name=n, shows="x", source="c/x.c", language="c") for n in all_names]
    assert names(catalog.select(specs, globs)) == chosen


def test_what_is_on_request_runs_only_where_a_glob_matches_it(written: Path) -> None:
    rare = ENTRY.replace("hgm/one", "hgm/rare") + "on_request = true\n"
    written.write_text(ENTRY + rare)
    specs = catalog.load(written)
    assert names(catalog.select(specs, [])) == ["hgm/one/1G", "hgm/one/2M"]
    assert names(catalog.select(specs, ["hgm/rare/1G"])) == ["hgm/rare/1G"]
    assert len(catalog.select(specs, ["hgm/*"])) == 4


def test_what_needs_features_runs_where_they_are_asked_for_or_a_glob_matches_it(
    written: Path,
) -> None:
    rare = ENTRY.replace("hgm/one", "hgm/rare") + 'config = ["udmabuf", "kselftest"]\n'
    written.write_text(ENTRY + rare)
    specs = catalog.load(written)
    usual = ["hgm/one/1G", "hgm/one/2M"]
    assert names(catalog.select(specs, [])) == usual
    assert names(catalog.select(specs, [], ["udmabuf"])) == usual
    assert len(catalog.select(specs, [], ["debug", "udmabuf", "kselftest"])) == 4
    assert names(catalog.select(specs, ["hgm/rare/1G"])) == ["hgm/rare/1G"]


def test_words_after_a_glob_are_options_of_the_probes_that_it_matches() -> None:
    chosen = catalog.select(catalog.load(), ["hgm/postcopy --uffds 2", "baseline/pool"])
    arguments = {spec.name: spec.arguments for spec in chosen}
    assert arguments["hgm/postcopy/2M"] == ("--backing", "split", "--size", "2M", "--uffds", "2")
    assert arguments["baseline/pool/2M"] == ("--size", "2M")
    assert catalog.matches("hgm/postcopy/2M", "hgm/postcopy --uffds 2")
    with pytest.raises(SpecError, match="'hgm/postcopi --uffds 2' matches no probe"):
        catalog.select(catalog.load(), ["hgm/postcopi --uffds 2"])


def test_a_glob_that_matches_nothing_gets_similar_names() -> None:
    with pytest.raises(SpecError) as caught:
        catalog.select(catalog.load(), ["hgm/*", "hgm/contineu-4k"])
    assert "'hgm/contineu-4k' matches no probe" in caught.value.line()
    assert "hgm/continue-4k" in caught.value.hint


def test_a_glob_like_no_name_points_to_the_list() -> None:
    with pytest.raises(SpecError, match="matches no probe") as caught:
        catalog.select(catalog.load(), ["zzzzzz"])
    assert "hgm probes list" in caught.value.hint


def test_every_source_is_in_the_catalogue_and_there() -> None:
    listed = {spec.source for spec in catalog.load()}
    found = {
        str(path.relative_to(catalog.PROBES))
        for pattern in ("c/*.c", "python/*.py")
        for path in catalog.PROBES.glob(pattern)
    }
    names = ("calibrate", "crash", "features", "counters", "renew", "walk")
    ours = {f"c/{name}.c" for name in names}
    assert found - listed == {*ours, "python/hgm_probe.py"}
    assert listed - found == set()


def test_a_machine_has_the_usual_sizes_those_of_its_pools_and_those_that_are_named() -> None:
    pages = machine_spec.parse_hugepages("2M:64", "aarch64")
    machine = machine_spec.machine(pages, arch_name="aarch64")
    usual = {"1G", "32M", "2M", "64K"}
    assert catalog.sizes(machine) == usual
    assert catalog.sizes(machine, ["baseline/pool/512M --x", "*/16M"]) == {*usual, "512M"}
    large = machine_spec.machine(
        machine_spec.parse_hugepages("512M:1", "aarch64"), arch_name="aarch64"
    )
    assert catalog.sizes(large) == {*usual, "512M"}


def test_what_is_about_hgm_needs_it() -> None:
    """The verdict tells HGM's probes by their name; the catalogue must not say otherwise."""
    for spec in catalog.load():
        assert ("hgm" in spec.needs) == spec.name.startswith("hgm/"), spec.name


@pytest.mark.parametrize(
    ("language", "library", "before", "unit"),
    [
        ("c", "c/lib/ktap.c", "#define TEST_MS ", 1000),
        ("python", "python/hgm_probe.py", "TEST_SECONDS = ", 1),
    ],
)
def test_each_probe_has_the_time_that_one_test_may_take(
    language: str, library: str, before: str, unit: int
) -> None:
    text = (catalog.PROBES / library).read_text()
    one_test = float(text.partition(before)[2].split()[0]) / unit
    budgets = [spec.budget for spec in catalog.load() if spec.language == language]
    # A test that is killed for its time is a FAIL; the budget's clock starts before the test's.
    assert min(budgets) >= one_test + 5


_SPLITS = re.compile(r"\b(?:split|map_split|map_split_part)\(|\bMADV_SPLIT\b")


@pytest.mark.parametrize(
    "spec",
    [each for each in catalog.load() if each.language == "c" and not each.arguments[:-2]],
    ids=lambda spec: spec.name,
)
def test_a_probe_is_skipped_without_hgm_only_if_it_splits(spec: ProbeSpec) -> None:
    source = catalog.PROBES / spec.source
    text = "".join(file.read_text() for file in (source, *source.with_suffix("").glob("*.c")))
    gated = "hgm" in spec.needs
    assert gated == (".needs_hgm = true" in text or ".needs_hgm = is_base" in text)
    assert gated <= bool(_SPLITS.search(text))
