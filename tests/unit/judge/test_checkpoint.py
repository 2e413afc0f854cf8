# SPDX-License-Identifier: GPL-2.0-only
"""A checkpoint's verdict: whoever disagrees with the page tables is named."""

from __future__ import annotations

import struct

import msgspec
import pytest

from harness.judge import checkpoint
from harness.records.probe import CheckpointEvidence, CheckpointResult
from tests.unit.judge.tables import LEAF, UFFD_WP, Tables

VA, PA = 0x7F12_4000_0000, 0x1_4000_0000
MIB2, KIB4 = 1 << 21, 1 << 12
BEACON, BEACON_AT = 0x7F20_0000_0000, 0x50_0000
CLAIMS, CLAIMS_AT = 0x7F20_0010_0000, 0x60_0000
TOKEN = 0xFEED_FACE_CAFE_BEEF
PRESENT, PROTECTED = 1 << 63, 1 << 57
MARKER_WP = 31 << 59 | (~1 & (1 << 50) - 1) << 9

LINE = (
    f"checkpoint cpu=1 start={VA:#x} length={MIB2:#x} page={MIB2:#x} beacon={BEACON:#x} "
    f"token={TOKEN:#x} pagemap={CLAIMS:#x} smaps=pud:0,pmd:0,pte:8192,all:8192 "
    "want=pte:2,present:2,wp:0 name=two pages, and more"
)


class Scene:
    """A probe's memory: two base pages of a 2 MiB page, its beacon, and what pagemap claims."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.line = LINE
        self.claims = [0] * 512
        for page in (3, 4):
            self.tables.map(VA + page * KIB4, PA + page * KIB4)
            self.claims[page] = PRESENT | PA + page * KIB4 >> 12
        self.tables.map(BEACON, BEACON_AT)
        self.tables.fill(BEACON_AT, struct.pack("<2Q", TOKEN, 0))
        self.tables.map(CLAIMS, CLAIMS_AT)

    def evidence(self) -> CheckpointEvidence:
        self.tables.fill(CLAIMS_AT, struct.pack("<512Q", *self.claims))
        return CheckpointEvidence(
            number=4, line=self.line, root=self.tables.root, levels=self.tables.levels
        )

    def judged(self) -> CheckpointResult:
        return checkpoint.judge(self.evidence(), self.tables.read)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_page_tables_that_agree_have_no_problem(scene: Scene) -> None:
    result = scene.judged()
    assert result.problems == ()
    assert (result.number, result.name) == (4, "two pages, and more")
    assert (result.start, result.length, result.page) == (VA, MIB2, MIB2)
    assert [(level.level, level.present) for level in result.levels] == [("pte", 2)]


@pytest.mark.parametrize(
    ("page", "claim", "problem"),
    [
        (3, 0, "page 3 is absent in pagemap, present at 0x140003000 in the page tables"),
        (
            9,
            PRESENT | 0x140009,
            "page 9 is present at 0x140009000 in pagemap, absent in the page tables",
        ),
        (
            4,
            PRESENT | 0x140005,
            "page 4 is present at 0x140005000 in pagemap, present at 0x140004000 in the",
        ),
        (4, PRESENT | PROTECTED | 0x140004, "page 4 is present and protected at 0x140004000 in"),
        (9, PROTECTED, "page 9 is absent and protected in pagemap, absent in the page tables"),
    ],
)
def test_a_wrong_entry_of_pagemap_is_found(
    scene: Scene, page: int, claim: int, problem: str
) -> None:
    scene.claims[page] = claim
    assert problem in scene.judged().problems[0]


def test_many_wrong_entries_of_pagemap_are_one_line(scene: Scene) -> None:
    scene.claims[5:105] = [PRESENT] * 100
    (problem,) = scene.judged().problems
    assert "page 5" in problem
    assert "(and 99 more)" in problem


def test_bits_of_pagemap_that_are_not_in_page_tables_do_not_matter(scene: Scene) -> None:
    scene.claims[3] |= 1 << 61 | 1 << 55 | 1 << 56
    assert scene.judged().problems == ()


def test_a_pagemap_without_frames_is_compared_without_them(scene: Scene) -> None:
    scene.claims = [claim & PRESENT for claim in scene.claims]
    assert scene.judged().problems == ()
    scene.claims[7] = PRESENT
    assert "page 7" in scene.judged().problems[0]


def test_write_protection_is_compared_on_present_entries_and_markers(scene: Scene) -> None:
    scene.line = LINE.replace("wp:0", "wp:2")
    scene.tables.map(VA + 4 * KIB4, PA + 4 * KIB4, flags=LEAF & ~2 | UFFD_WP)
    scene.tables.put(VA + 5 * KIB4, MARKER_WP)
    scene.claims[4] |= PROTECTED
    scene.claims[5] = PROTECTED
    assert scene.judged().problems == ()


@pytest.mark.parametrize(
    ("said", "claim", "problem"),
    [
        (
            "pte:8192",
            "pte:4096",
            "smaps reports 4 kB mapped by PTE entries, the page tables map 8 kB",
        ),
        (
            "pmd:0",
            "pmd:2097152",
            "smaps reports 2048 kB mapped by PMD entries, the page tables map 0 kB",
        ),
        ("all:8192", "all:0", "smaps reports 0 kB mapped in all, the page tables map 8 kB"),
    ],
)
def test_a_wrong_number_in_smaps_is_found(
    scene: Scene, said: str, claim: str, problem: str
) -> None:
    scene.line = LINE.replace(said, claim)
    assert scene.judged().problems == (problem,)


def test_fields_that_smaps_lacks_are_not_compared(scene: Scene) -> None:
    scene.line = LINE.replace("pud:0,pmd:0,pte:8192,all:8192", "pud:-1,pmd:-1,pte:-1,all:8192")
    assert scene.judged().problems == ()


def test_a_page_under_migration_or_poisoned_counts_as_mapped(scene: Scene) -> None:
    scene.tables.put(VA + 8 * KIB4, 28 << 59)
    scene.line = LINE.replace("all:8192", "all:12288")
    assert scene.judged().problems == ()


@pytest.mark.parametrize(
    ("want", "problem"),
    [
        ("pte:3", "the page tables have 2 PTE entries, the probe expected 3"),
        ("pmd:1", "the page tables have 0 PMD entries, the probe expected 1"),
        ("present:512", "the page tables have 2 base pages present, the probe expected 512"),
        ("wp:1", "the page tables have 0 base pages write-protected, the probe expected 1"),
    ],
)
def test_what_the_probe_expects_is_compared(scene: Scene, want: str, problem: str) -> None:
    scene.line = LINE.replace("pte:2,present:2,wp:0", want)
    assert scene.judged().problems == (problem,)


def test_a_wrong_subpage_is_found_even_if_pagemap_agrees(scene: Scene) -> None:
    scene.tables.map(VA + 4 * KIB4, PA + 7 * KIB4)
    assert any("wrong subpage" in problem for problem in scene.judged().problems)
    scene.claims[4] = PRESENT | PA + 7 * KIB4 >> 12  # pagemap tells it as it is
    (problem,) = scene.judged().problems
    assert "wrong subpage: 0x7f1240004000 (page 4 of its huge page) maps 0x140007000" in problem


def test_ordinary_memory_may_lie_anywhere(scene: Scene) -> None:
    scene.tables.map(VA + 4 * KIB4, PA + 7 * KIB4)
    scene.claims[4] = PRESENT | PA + 7 * KIB4 >> 12
    scene.line = LINE.replace(f"page={MIB2:#x}", f"page={KIB4:#x}")
    assert scene.judged().problems == ()


@pytest.mark.parametrize("beacon", [(TOKEN + 1, 0), (TOKEN, 1)])
def test_page_tables_of_another_process_are_refused(scene: Scene, beacon: tuple[int, int]) -> None:
    scene.tables.fill(BEACON_AT, struct.pack("<2Q", *beacon))
    assert scene.judged().problems == ("the page tables that were walked are not the probe's",)


def test_tables_that_point_outside_memory_are_a_problem(scene: Scene) -> None:
    scene.tables.put(VA, 0xDEAD_0000_0067, 21)
    assert scene.judged().problems == (
        "a page-table entry points to 0xdead00000000, outside the guest's memory",
    )


def test_claims_that_are_not_in_memory_are_a_problem(scene: Scene) -> None:
    scene.tables.put(CLAIMS, 0)
    assert scene.judged().problems == ("the probe's copy of pagemap is not in its memory",)


def test_a_checkpoint_that_the_host_could_not_answer_is_a_problem(scene: Scene) -> None:
    evidence = msgspec.structs.replace(scene.evidence(), problem="finding the probe took too long")
    result = checkpoint.judge(evidence, scene.tables.read)
    assert result.problems == ("finding the probe took too long",)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("cpu=1", "cpu=", "damaged"),
        ("token=", "tokne=", "damaged"),
        (" name=two", "", "damaged"),
        (f"start={VA:#x}", f"start={VA + 1:#x}", "not one of whole pages"),
        (f"page={MIB2:#x}", "page=0x3000", "not one of whole pages"),
        (f"length={MIB2:#x}", "length=0x0", "empty or longer than 4 GiB"),
        (f"length={MIB2:#x}", f"length={8 << 30:#x}", "longer than 4 GiB"),
        ("pte:2,", "xyz:2,", "unknown field 'xyz:2'"),
        ("pte:2,", "pte:,", "unknown field 'pte:'"),
        ("all:8192", "wp:1", "unknown field 'wp:1'"),
    ],
)
def test_an_invalid_checkpoint_line_is_refused(before: str, after: str, problem: str) -> None:
    line = LINE.replace(before, after, 1)
    assert line != LINE
    with pytest.raises(ValueError, match=problem):
        checkpoint.parse(line)
    result = checkpoint.judge(CheckpointEvidence(number=1, line=line), lambda address: b"")
    assert problem in result.problems[0]


def test_a_page_of_contiguous_entries_may_be_checked(scene: Scene) -> None:
    for size, accepted in ((1 << 16, True), (1 << 25, True), (3 << 12, False), (1 << 31, False)):
        line = scene.line.replace(f"page={MIB2:#x}", f"page={size:#x}")
        if accepted:
            assert checkpoint.parse(line).page == size
        else:
            with pytest.raises(ValueError, match="is not one of whole pages"):
                checkpoint.parse(line)


def test_base_pages_of_64_kib_are_compared_as_such() -> None:
    scene, page = Scene(), 1 << 16
    leaf = 0xF43 | 1 << 51 | 1 << 55  # a written page of arm64
    scene.tables = Tables(3, "aarch64")
    scene.claims = [0] * 512
    for number in range(32):
        entry = PA + number * page | leaf | 1 << 52
        scene.tables.put(VA + number * page, entry, 16, table=3)
        scene.claims[number] = PRESENT | PA + number * page >> 16
    scene.tables.put(BEACON, BEACON_AT | leaf, 16, table=3)
    scene.tables.fill(BEACON_AT, struct.pack("<2Q", TOKEN, 0))
    scene.tables.put(CLAIMS, CLAIMS_AT | leaf, 16, table=3)
    scene.line = LINE.replace("8192", str(MIB2)).replace("pte:2,present:2", "pte:32,present:32")

    def problems() -> tuple[str, ...]:
        evidence = msgspec.structs.replace(scene.evidence(), arch="aarch64")
        return checkpoint.judge(evidence, scene.tables.read).problems

    assert problems() == ()
    scene.claims[9] += 1
    (problem,) = problems()
    assert problem.startswith("page 9 is present at 0x1400a0000 in pagemap")
    scene.line = scene.line.replace(f"length={MIB2:#x}", f"length={KIB4:#x}")
    assert problems() == ("the checkpoint's range is not one of whole pages",)


@pytest.mark.parametrize(
    ("levels", "size", "shift", "cont", "wrong"),
    [
        (4, 1 << 16, 12, 1, ""),
        (4, 1 << 16, 12, 0, "PTE entries that are not contiguous ones, as a page of 64 KiB has"),
        (4, 1 << 25, 21, 1, ""),
        (4, 1 << 25, 21, 0, "PMD entries that are not contiguous ones, as a page of 32768 KiB has"),
        (4, 1 << 25, 12, 1, "PTE entries that are not"),
        (4, 1 << 21, 12, 0, ""),  # it may be mapped so, by HGM
        (4, 1 << 12, 12, 0, ""),
        (3, 1 << 21, 16, 1, ""),
        (3, 1 << 21, 16, 0, "PTE entries that are not contiguous ones, as a page of 2048 KiB has"),
        (3, 1 << 29, 29, 0, ""),
    ],
)
def test_a_page_between_two_levels_is_a_set_of_contiguous_entries(
    levels: int, size: int, shift: int, cont: int, wrong: str
) -> None:
    made = Tables(levels, "aarch64")
    base = 16 if levels == 3 else 12
    leaf = 0xF41 | (2 if shift == base else 0) | 1 << 51 | 1 << 55 | cont << 52
    for at in range(0, size, 1 << shift):
        made.put(VA + at, PA + at | leaf, shift, table=3)
    made.put(BEACON, BEACON_AT | 0xF43, base, table=3)
    made.fill(BEACON_AT, struct.pack("<2Q", TOKEN, 0))
    numbers = {f"length={MIB2:#x} page={MIB2:#x}": f"length={size:#x} page={size:#x}"}
    numbers |= {f"pagemap={CLAIMS:#x}": "pagemap=0", "pud:0,pmd:0,pte:8192,all:8192": ""}
    line = LINE.replace("want=pte:2,present:2,wp:0", "want=")
    for old, new in numbers.items():
        line = line.replace(old, new)
    evidence = CheckpointEvidence(
        number=1, line=line, root=made.root, levels=levels, arch="aarch64"
    )
    problems = checkpoint.judge(evidence, made.read).problems
    assert len(problems) == bool(wrong)
    assert all(problem.startswith(f"{VA:#x} is mapped by {wrong}") for problem in problems)


@pytest.mark.parametrize(("cr4", "levels"), [(0x6F0, 4), (0x16F0, 5)])
def test_an_old_record_has_control_registers(cr4: int, levels: int) -> None:
    old = CheckpointEvidence(number=1, line="", cr3=0x1234805, cr4=cr4)
    assert checkpoint.top(old)[1:] == (0x1234000, levels)
