# SPDX-License-Identifier: GPL-2.0-only
"""Which probes --touched chooses."""

from __future__ import annotations

import pytest

from harness.errors import SpecError
from harness.probes import catalog, touched
from harness.probes.catalog import Touches
from harness.records.probe import ProbeSpec

SPECS = catalog.load()
NAMES = ("baseline/smaps/2M", "baseline/pool/2M", "baseline/rwp-shmem/2M")
THREE = tuple(spec for name in NAMES for spec in SPECS if spec.name == name)
TEXTS = dict(zip(NAMES, ("smaps of it", "nr_hugepages", "rwp --backing shmem smaps"), strict=True))
TABLE = (
    Touches(files=("Documentation/*",), words=()),
    Touches(files=("fs/proc/*",), words=("smaps",)),
    Touches(files=("mm/huge*",), words=("",), but=("*-shmem",)),
)


def choose(*files: str) -> touched.Choice:
    return touched.choose(THREE, "mbox:x", files, TABLE, lambda spec: TEXTS[spec.name])


def names(*files: str) -> list[str]:
    return [spec.name.split("/")[1] for spec in choose(*files).specs]


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["fs/proc/task_mmu.c"], ["smaps", "rwp-shmem"]),
        (["mm/hugetlb.c"], ["smaps", "pool"]),
        (["mm/hugetlb.c", "fs/proc/task_mmu.c"], ["smaps", "pool", "rwp-shmem"]),
        (["fs/proc/task_mmu.c", "Documentation/mm/a/b.rst"], ["smaps", "rwp-shmem"]),
    ],
)
def test_the_words_and_globs_of_the_files_choose(files: list[str], chosen: list[str]) -> None:
    assert names(*files) == chosen


def test_what_was_left_out_is_said() -> None:
    choice = choose("fs/proc/task_mmu.c")
    assert choice.note == (
        "--touched mbox:x: 1 of 3 probes are left out, which do not look at fs/proc/task_mmu.c; "
        "left_out in result.json names them"
    )
    assert choice.left_out == ("baseline/pool",)


def test_of_a_family_that_runs_in_part_the_others_are_named() -> None:
    specs = [spec for spec in SPECS if catalog.family(spec.name) in ("hgm/split", "hgm/fork")]
    table = (Touches(files=("mm/*",), words=("hgm/fork/1G",)),)
    choice = touched.choose(specs, "x", ["mm/a.c"], table, lambda spec: spec.name)
    assert [spec.name for spec in choice.specs] == ["hgm/fork/1G"]
    assert choice.left_out == ("hgm/split", "hgm/fork/2M")


def test_a_file_that_is_not_in_the_table_leaves_nothing_out() -> None:
    choice = choose("fs/proc/task_mmu.c", "kernel/fork.c")
    assert choice.specs == THREE
    assert choice.note == (
        "--touched mbox:x: nothing is left out: any probe may look at kernel/fork.c"
    )
    assert choice.left_out == ()


def test_a_series_that_no_probe_looks_at_is_an_error() -> None:
    with pytest.raises(SpecError, match="no probe that was selected looks at Documentation/a"):
        choose("Documentation/a")


def real(file: str) -> set[str]:
    found = touched.choose(SPECS, "x", [file], catalog.touches()).specs
    return {catalog.family(spec.name) for spec in found}


@pytest.mark.parametrize(
    ("file", "some", "others"),
    [
        ("mm/hugetlb.c", {"baseline/pool", "hgm/split"}, {"baseline/rwp-shmem"}),
        ("mm/hugetlb_cgroup.c", {"baseline/cgroup-limit"}, {"baseline/guard-anonymous"}),
        ("mm/userfaultfd.c", {"baseline/uffd-api", "baseline/rwp-shmem"}, {"baseline/pool"}),
        ("fs/proc/task_mmu.c", {"baseline/scan", "hgm/smaps"}, {"baseline/pool"}),
        ("mm/memory-failure.c", {"baseline/poisoned-pages", "baseline/error-counters"}, set()),
        ("mm/mremap.c", {"hgm/mremap", "baseline/rwp"}, {"baseline/pool"}),
        ("mm/ksm.c", {"baseline/ksm-advice"}, {"baseline/pool"}),
        ("drivers/dma-buf/udmabuf.c", {"baseline/udmabuf"}, {"baseline/pool"}),
    ],
)
def test_the_catalogue_chooses_by_what_probes_do(
    file: str, some: set[str], others: set[str]
) -> None:
    chosen = real(file)
    assert some <= chosen
    assert not others & chosen


def test_every_entry_of_the_catalogue_chooses_and_every_glob_matches() -> None:
    everything: set[ProbeSpec] = set()
    for entry in catalog.touches():
        chosen = {spec.name for spec in SPECS if touched.looks(spec, entry)}
        assert bool(chosen) == bool(entry.words), entry
        everything |= {spec for spec in SPECS if spec.name in chosen}
        for glob in entry.but:
            assert any(catalog.matches(spec.name, glob) for spec in SPECS), glob
        for word in entry.words:
            assert any(word in touched.text_of(spec) for spec in SPECS), word
    assert everything == set(SPECS)
