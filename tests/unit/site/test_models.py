# SPDX-License-Identifier: GPL-2.0-only
"""The pages' models: what stands on a page, without HTML."""

from __future__ import annotations

import datetime
import re

import msgspec
import pytest

from harness.records.campaign import Change, Comparison, ProbeSummary
from harness.records.history import CellState, HistoryState, Mark, ResultState
from harness.records.machine import GuestOrigin
from harness.records.probe import Leak, ProbeResult, Splat, Subtest
from harness.records.run import StageTime
from harness.site import (
    compare_page,
    index_page,
    matrix_page,
    names,
    probe_page,
    run_page,
    text_page,
    trends,
)
from harness.site.evidence import Files, Lines
from harness.site.past import SiteData
from harness.site.words import Link, cell_words, duration
from harness.store import rundir
from tests.unit.report.records import RUN
from tests.unit.site.nights import mark, nights, other_cell, run

LINK = Link(text="a run", path="run/x/index.html")


# ---- the first page ----------------------------------------------------------------------------


def state_of(*tests: ResultState, passing: int = 3) -> CellState:
    cell = run(1).cell
    assert cell is not None
    return CellState(
        cell=cell, latest=run(2), before=run(1), tests=tests, passing=passing, skipped=1
    )


def past_of(*cells: CellState, exit_code: int = 0) -> SiteData:
    state = HistoryState(
        cells=cells,
        counts={"regression": 1, "fixed": 0, "same": 4},
        stale=2,
        exit_code=exit_code,
    )
    return SiteData((run(2), run(1)), {}, {}, state, (), ())


REGRESSION = ResultState(
    name="a/x/1G",
    category="regression",
    status="FAIL",
    reason="two\nlines",
    first_bad=run(2),
    last_good=run(1),
    bad=1,
    known=5,
)


def test_the_first_page_says_what_is_new_and_since_when() -> None:
    page = index_page.index(past_of(state_of(REGRESSION), exit_code=1), {run(2).id})
    assert (page.alarm, page.newest, page.same, page.stale) == (
        "The kernel got worse.",
        "2026-11-03 02:00",
        4,
        2,
    )
    assert [(each.words, each.alarming) for each in page.counts] == [("1 regression", True)]
    (block,) = page.cells
    assert block.comparison == names.comparison(run(2).id)
    assert block.rest == "3 tests passed, 1 skipped"
    (line,) = block.lines
    assert line.test.path == "probe/a+x+1G.html"
    assert (line.reason, line.often) == ("two lines", "1 of 5 failed")
    assert line.first_bad == Link(text="2026-11-03 02:00 6.12.2", path=names.run(run(2).id))
    assert line.last_good is not None
    assert [each.run.path for each in page.runs] == [names.run(run(2).id), names.run(run(1).id)]


def test_runs_that_began_in_the_same_minute_are_told_apart() -> None:
    good, bad = (
        msgspec.structs.replace(run(1), id=which, started=run(1).started.replace(second=second))
        for which, second in (("0" * 16, 5), ("1" * 16, 41))
    )
    test = msgspec.structs.replace(REGRESSION, first_bad=bad, last_good=good)
    state = msgspec.structs.replace(state_of(test), latest=bad, before=good)
    (block,) = index_page.index(past_of(state), set()).cells
    (line,) = block.lines
    for link, text in (
        *((line.first_bad, "02:00:41"), (line.last_good, "02:00:05")),
        *((block.latest, "02:00:41"), (block.before, "02:00:05")),
    ):
        assert link is not None
        assert link.text == f"2026-11-02 {text} 6.12.1"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"series": "mbox:/srv/night/series.mbox"}, "series mbox:series.mbox, base"),
        (
            {"series": "dir:/srv/night/x first 2 with /home/a/b.patch"},
            "series dir:x first 2 with b.patch, base",
        ),
        ({"kernel": "tree:/home/a/linux"}, "tree:linux, series hgm-6.12"),
        ({}, "debian:linux-source-6.12, series hgm-6.12, base"),
    ],
)
def test_a_cell_is_named_without_directories(fields: dict[str, str], words: str) -> None:
    cell = run(1).cell
    assert cell is not None
    shown = cell_words(msgspec.structs.replace(cell, **fields))
    assert words in shown
    assert "/" not in shown


def test_what_fails_in_the_first_run_of_a_cell_got_no_worse() -> None:
    failure = msgspec.structs.replace(REGRESSION, category="new failure", last_good=None)
    first = msgspec.structs.replace(state_of(failure), before=None, known=2)
    page = index_page.index(past_of(first, exit_code=1), set())
    assert page.alarm == "A kernel fails that was not run before."
    assert page.cells[0].rest == "3 tests passed, 2 failed by a known issue, 1 skipped"
    assert index_page.index(past_of(state_of()), set()).alarm == ""


def test_a_known_issue_is_not_shown_as_alarming() -> None:
    known = msgspec.structs.replace(REGRESSION, status="KNOWN", known_issues=("an-issue",))
    page = index_page.index(past_of(state_of(known)), set())
    assert [each.alarming for each in page.counts] == [False]
    assert [line.alarming for line in page.cells[0].lines] == [False]
    page = index_page.index(past_of(state_of(known, REGRESSION)), set())
    assert [each.alarming for each in page.counts] == [True]
    assert [line.alarming for line in page.cells[0].lines] == [False, True]


def test_a_run_that_has_no_page_of_differences_is_not_linked_to_one() -> None:
    (block,) = index_page.index(past_of(state_of(REGRESSION)), set()).cells
    assert block.comparison == ""


def test_a_cell_with_nothing_new_is_listed_apart() -> None:
    page = index_page.index(past_of(state_of()), set())
    assert (page.cells, len(page.quiet)) == ((), 1)


def test_the_first_page_does_not_grow_with_what_is_new() -> None:
    many = [msgspec.structs.replace(REGRESSION, name=f"a/{n}/1G") for n in range(100)]
    (block,) = index_page.index(past_of(state_of(*many)), set()).cells
    assert (len(block.lines), block.more) == (index_page.MOST_TESTS, 100 - index_page.MOST_TESTS)
    cells = [state_of(REGRESSION)] * (index_page.MOST_CELLS + 7)
    page = index_page.index(past_of(*cells), set())
    assert (len(page.cells), page.more) == (index_page.MOST_CELLS, 7)


def test_a_cells_page_has_all_that_is_new() -> None:
    many = [msgspec.structs.replace(REGRESSION, name=f"a/{n}/1G") for n in range(100)]
    state = state_of(*many)
    page = index_page.cell(state.cell, [run(2), run(1)], state, set())
    assert page.block is not None
    assert (len(page.block.lines), page.block.more) == (100, 0)


@pytest.mark.parametrize(("total", "pages"), [(1, 1), (200, 1), (201, 2), (400, 2)])
def test_a_page_of_the_list_keeps_its_runs_when_later_ones_come(total: int, pages: int) -> None:
    runs = [run(number) for number in range(total)][::-1]
    found = list(index_page.runs(runs))
    assert [page.number for page in found] == list(range(1, pages + 1))
    assert found[-1].newer == "" == found[0].older
    assert found[0].runs[-1].run.path == names.run(run(0).id)
    later = list(index_page.runs([run(total), *runs]))
    assert later[: pages - 1] == found[: pages - 1]


# ---- tests and the matrix ----------------------------------------------------------------------


def test_a_tests_page_says_when_its_result_changed() -> None:
    found = nights({"a/x/1G": ("PASS", "PASS", None, "FAIL", "FAIL", "PASS")})
    page = probe_page.probe("a/x/1G", [found], "pages are mapped")
    (trail,) = page.trails
    assert [tile.status for tile in trail.tiles] == ["PASS", "PASS", "FAIL", "FAIL", "PASS"]
    turns = [(turn.before, turn.status, turn.reason) for turn in trail.turns]
    assert turns == [
        ("FAIL", "PASS", ""),
        ("PASS", "FAIL", "FAIL for a reason"),
        ("", "PASS", ""),
    ]
    assert trail.turns[1].run.path == names.run(run(3).id)
    assert (trail.often, trail.flaky) == ("2 of 5 failed", False)


def test_a_test_that_always_passed_has_nothing_to_say_about_changes() -> None:
    (trail,) = probe_page.probe("x", [nights({"x": ("PASS", None, "PASS")})]).trails
    assert (trail.turns, len(trail.tiles)) == ((), 2)
    (trail,) = probe_page.probe("x", [nights({"x": ("SKIP", "SKIP")})]).trails
    assert [turn.status for turn in trail.turns] == ["SKIP"]


@pytest.mark.parametrize(
    ("marks", "points"),
    [
        ((mark("PASS", 1), mark("PASS", 4), mark("PASS", 2)), "0,30 150,0 300,20"),
        ((mark("PASS", 1), None, mark("HANG", 9), mark("PASS", 2)), "0,20 300,0"),
        ((mark("PASS", 1), mark("FAIL", 2)), None),
        ((mark("PASS", 0), mark("PASS", 0)), None),
        ((mark("PASS", 1),), None),
        ((None, None), None),
    ],
)
def test_the_times_of_passes_are_a_line(marks: tuple[Mark | None, ...], points: str | None) -> None:
    cell = nights({"x": ["PASS"] * len(marks)})._replace(marks={"x": marks})
    (trail,) = probe_page.probe("x", [cell]).trails
    assert (trail.chart and trail.chart.points) == points


def test_the_line_of_times_is_of_the_tiles() -> None:
    (trail,) = probe_page.probe("x", [nights({"x": ["PASS"] * 60})]).trails
    assert trail.chart is not None
    assert len(trail.chart.points.split()) == len(trail.tiles) < 60


def test_a_test_is_flaky_if_one_kernel_both_passes_and_fails_it() -> None:
    (trail,) = probe_page.probe("x", [nights({"x": ("PASS", "FAIL")}, key="one")]).trails
    assert trail.flaky
    (trail,) = probe_page.probe("x", [nights({"x": ("PASS", "PASS")}, key="one")]).trails
    assert not trail.flaky


def test_a_test_has_a_trail_in_each_cell_that_ran_it() -> None:
    one = nights({"x": ("PASS",)})
    page = probe_page.probe("x", [one, other_cell(one), nights({"y": ("PASS",)})])
    assert len({trail.anchor for trail in page.trails}) == len(page.trails) == 2


def test_the_matrix_has_a_row_for_each_test_and_a_column_for_each_cell() -> None:
    one = nights({"x": ("PASS", "FAIL"), "y": ("PASS", "SKIP")}, key="one")
    two = other_cell(nights({"y": ("PASS", None), "z": ("CRASH", "PASS")}))
    page = matrix_page.matrix([one, two])
    assert [column.number for column in page.columns] == [1, 2]
    shown = {row.test.text: row for row in page.rows}
    squares = {
        name: [(s.status, s.often, s.flaky) if s else None for s in row.squares]
        for name, row in shown.items()
    }
    assert squares == {
        "x": [("FAIL", "1/2", True), None],
        "y": [("SKIP", "", False), ("", "", False)],
        "z": [None, ("PASS", "1/2", False)],
    }
    assert [row.plain for row in page.rows] == [False, True, False]
    assert [row.flaky for row in page.rows] == [True, False, False]


# ---- a run -------------------------------------------------------------------------------------

CONSOLE = b"boot\nf+0x1/0x2\n------------[ cut here ]------------\nWARNING: x\n"
SPLAT = Splat(
    kind="warning",
    title="WARNING: x",
    block=("WARNING: x", " f+0x1/0x20", " g+0x2/0x30"),
    offset=CONSOLE.index(b"WARNING"),
)
FAILED = ProbeResult(
    name="a/x/1G#2",
    status="FAIL",
    reason="one: no",
    seconds=2.0,
    subtests=(
        Subtest(name="one", status="FAIL", reason="no"),
        Subtest(name="two", status="PASS"),
    ),
    splats=(SPLAT,),
    leaks=(Leak(what="pool.1G.node0.free", before=2, after=1),),
    blame="f at mm/hugetlb.c:12",
    known_issues=("an-issue",),
    evidence=("probes/x/registers",),
    directory="probes/a+x+1G%232",
)
RECORD = msgspec.structs.replace(
    RUN,
    probes=(ProbeResult(name="a/x/1G#1", status="PASS", directory="probes/y"), FAILED),
    splats=(SPLAT,),
    stages=(StageTime(name="guest", seconds=10.0),),
    guests=(
        *(GuestOrigin(how="booted", seconds=seconds) for seconds in (7.0, 30.0, 8.0)),
        GuestOrigin(how="restored", seconds=0.5),
    ),
)
FILES = Files(
    {"serial.log": CONSOLE},
    {"a/x/1G#2": "not ok 1 one\n"},
    {
        "a/x/1G#2": {"f+0x1/0x20": ("f at mm/f.c:7",)},
        rundir.OUTSIDE: {"f+0x1/0x20": ("f at mm/f.c:8",)},
    },
)


def page_of(files: Files = FILES, **context: object) -> run_page.RunPage:
    return run_page.run(run(2), RECORD, files, run_page.Neighbours(**context), "")  # type: ignore[arg-type]


def test_a_runs_page_has_the_details_of_what_did_not_pass() -> None:
    page = page_of()
    (detail,) = page.details
    assert (detail.name, detail.status, detail.passed) == ("a/x/1G#2", "FAIL", 1)
    assert [part.name for part in detail.parts] == ["one"]
    assert {fact.name: fact.value for fact in detail.facts} == {
        "stopped in": "f at mm/hugetlb.c:12",
        "did not come back": "pool.1G.node0.free: 2 before, 1 after",
        "known issues": "an-issue",
        "captured": "probes/x/registers",
    }
    assert detail.output == f"{names.ktap(run(2).id)}#p-a+x+1G=232"


def test_a_splat_is_decoded_and_linked_to_its_line_of_the_console() -> None:
    (detail,) = page_of().details
    (splat,) = detail.splats
    assert splat.path == f"{names.console(run(2).id)}#L4"
    assert [line.places for line in splat.lines] == ["", "f at mm/f.c:7", ""]
    (outside,) = page_of().splats
    assert [line.places for line in outside.lines] == ["", "f at mm/f.c:8", ""]


def test_a_run_whose_directory_is_gone_links_to_no_files() -> None:
    page = page_of(Files())
    assert page.gone
    assert page.pages == ()
    assert page.splats[0].path == ""
    assert all(link.text == "details" for g in page.groups for p in g.lines for link in p.links)


def test_repetitions_of_a_probe_link_to_one_page() -> None:
    (group,) = page_of().groups
    assert {line.probe.path for line in group.lines} == {"probe/a+x+1G.html"}
    assert group.summary == "1 of 2 passed"


def test_a_runs_page_says_how_it_differs_from_the_run_before() -> None:
    found = Comparison(before="", after="", exit_code=0, same=5, differs=("config: a, b",))
    page = page_of(before=run(1), comparison=found)
    assert page.changed == "no regression: 5 as before"
    assert (page.beside.comparison, page.differs) == ("", ("config: a, b",))
    change = Change(
        name="a", kind="gone", before=ProbeSummary(status="PASS", counts={"PASS": 1}), after=None
    )
    found = msgspec.structs.replace(found, changes=(change,))
    assert page_of(before=run(1), comparison=found).beside.comparison == names.comparison(run(2).id)


def test_lines_are_found_by_the_bytes_in_them() -> None:
    lines = Lines("é\nb\n".encode())
    assert [lines.number(offset) for offset in range(6)] == [1, 1, 1, 2, 2, 3]
    assert [Lines(data).count for data in (b"", b"a", b"a\n", b"a\nb", b"\n\n")] == [0, 1, 1, 2, 2]


def test_a_splat_without_a_line_in_the_page_is_linked_to_the_gap_or_to_nothing() -> None:
    def path(count: int, offset: int) -> str:
        splat = msgspec.structs.replace(SPLAT, offset=offset)
        record = msgspec.structs.replace(RECORD, splats=(splat,))
        files = Files({"serial.log": b"\n" * count})
        page = run_page.run(run(2), record, files, run_page.Neighbours(), "")
        return page.splats[0].path.partition("#")[2]

    count = text_page.MOST_LINES + 5
    half = text_page.MOST_LINES // 2
    found = [path(count, offset) for offset in (half - 1, half, half + 4, half + 5, count)]
    assert found == [f"L{half}", "L-", "L-", f"L{half + 6}", ""]


# ---- texts, differences, times -----------------------------------------------------------------


def test_each_line_of_a_text_has_an_anchor() -> None:
    (block,) = text_page.console(LINK, "serial.log", b"one\n\x1b[31mtwo\xff\nthree").blocks
    assert [(line.anchor, line.number) for line in block.lines] == [("L1", 1), ("L2", 2), ("L3", 3)]
    assert [line.text for line in block.lines] == ["one", "two\N{REPLACEMENT CHARACTER}", "three"]


def test_a_long_text_keeps_its_ends_and_the_numbers_of_its_lines() -> None:
    count = text_page.MOST_LINES + 5
    data = "".join(f"{number}\n" for number in range(1, count + 1)).encode()
    (block,) = text_page.console(LINK, "serial.log", data).blocks
    assert len(block.lines) == text_page.MOST_LINES + 1
    assert all(line.text == str(line.number) for line in block.lines if line.number)
    assert block.lines[-1].number == count
    (gap,) = [line for line in block.lines if not line.number]
    assert gap.text == "[5 lines are left out here; serial.log has them]"


def test_differences_come_worst_first() -> None:
    one, two = (
        ProbeSummary(status=status, counts={status: 1}, reason=f"it is {status}")
        for status in ("PASS", "FAIL")
    )
    found = Comparison(
        before="",
        after="",
        exit_code=1,
        changes=(
            Change(name="a", kind="newly passing", before=two, after=one),
            Change(name="b", kind="newly failing", before=one, after=two, regression=True, p=0.01),
        ),
    )
    page = compare_page.comparison(found, LINK, LINK)
    assert [group.kind for group in page.groups] == ["newly failing", "newly passing"]
    (line,) = page.groups[0].lines
    assert (line.before, line.after, line.reason, line.chance) == (
        *("PASS", "FAIL", "it is FAIL"),
        "0.01",
    )
    assert page.bad


def test_a_runs_boot_is_the_median_of_the_guests_that_it_booted() -> None:
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    found = trends.times(RECORD, day)
    assert (found.build, found.boot, found.probes) == (312.4, 8.0, 2.0)
    # Probes that ran at the same time took longer than the stage.
    probes = [msgspec.structs.replace(FAILED, seconds=9.0)] * 3
    assert trends.times(msgspec.structs.replace(RECORD, probes=probes), day).boot == 8.0
    older = tuple(GuestOrigin(how="booted") for _ in RECORD.guests)
    assert trends.times(msgspec.structs.replace(RECORD, guests=older), day).boot is None
    assert trends.times(msgspec.structs.replace(RECORD, guests=()), day).boot is None


def test_a_cell_with_one_run_has_no_picture() -> None:
    times = trends.times(RECORD, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    cell = nights({"a/x/1G": ("PASS",)})
    one = trends.figure(cell, [times])
    assert (one.picture, one.words) == ("", "One run: build 5 min; boot 8.00 s; all probes 2.00 s.")
    two = trends.figure(cell, [times, times])
    assert two.picture.endswith(".svg")
    assert two.words.startswith("The last of 2 runs: build 5 min, median 5 min; boot 8.00 s, ")


def test_a_picture_has_its_colours_from_a_style_sheet() -> None:
    found = [
        trends.times(RECORD, datetime.datetime(2026, 1, day, tzinfo=datetime.UTC)) for day in (1, 2)
    ]
    for times in (found, [each._replace(build=None, boot=None) for each in found]):
        drawn = trends.svg(times)
        assert "prefers-color-scheme:dark" in drawn
        assert not re.search("#0[123]0[123]0[123]", drawn)
        assert ("build, s" in drawn) == (times[0].build is not None)
        assert ("boot, s" in drawn) == (times[0].boot is not None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.125, "0.12 s"), (9.5, "9.50 s"), (12.4, "12 s"), (130.0, "2 min")]
)
def test_times_are_shown_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
