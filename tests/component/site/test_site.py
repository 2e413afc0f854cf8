# SPDX-License-Identifier: GPL-2.0-only
"""`hgm report`: the site as a whole, from a history to pages whose links lead somewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.errors import RecordError, SpecError
from harness.judge import lines
from harness.records.base import to_json
from harness.records.kernel import Kernel
from harness.records.machine import GuestImage
from harness.records.run import Ingredients
from harness.site import directory, names, run_files
from harness.store import rundir
from harness.store.history.cell import run_id
from harness.store.history.history import opened
from tests.component.evidence.test_coverage import made
from tests.component.site import links
from tests.component.site.nights import add_checkpoint, add_study, record
from tests.unit.report import hostile
from tests.unit.store.pasts import MACHINE, REQUEST, night

A, B = "a/x/1G", "b/<script>alert(1)</script>/2M"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a directory of runs of three nights, in which a test begins to fail."""
    runs = tmp_path / "runs"
    record(1, {A: "PASS", B: "PASS", "old/x/1G": "PASS"}, runs)
    record(2, {A: "PASS", B: "FAIL"}, runs, key="one")
    record(3, {A: "FAIL", B: "PASS"}, runs, key="one")
    return runs


def report(runs: Path, *words: str) -> Result:
    site = runs.parent / "site"
    argv = ["report", str(runs), "--runs-dir", str(runs), "--output", str(site), *words]
    return CliRunner().invoke(main.hgm, argv, standalone_mode=False)


def build(runs: Path) -> Path:
    result = report(runs)
    assert result.exception is None, result.output
    assert result.return_value == 0
    return runs.parent / "site"


def text_of(site: Path, path: str) -> str:
    return " ".join(links.read(site / path).text.split())


def check(site: Path) -> None:
    """Check all pages of a site: valid, no element that no template has, links lead somewhere."""
    found = links.pages(site)
    assert len(found) > 8
    for path in found:
        page = links.read(path)
        assert page.errors == []
        assert {name for name, _ in page.elements} <= links.ELEMENTS
        attributes = {(name, key) for name, keys in page.elements for key in keys}
        assert not {each for each in attributes if each[1].startswith("on") or each[1] == "style"}
        scripts = [keys["src"] for name, keys in page.elements if name == "script"]
        assert [Path(each).name for each in scripts] == ["filter.js"]
        policies = [keys["content"] for _, keys in page.elements if "http-equiv" in keys]
        assert [each.split(";")[0] for each in policies] == ["default-src 'none'"]
        assert len(page.ids) == len(set(page.ids))
        tags = [name for name, _ in page.elements]
        assert (tags.count("h1"), tags.count("main"), tags.count("title")) == (1, 1, 1)
        assert tags.count("table") == tags.count("caption")
        assert all("scope" in keys for name, keys in page.elements if name == "th")
        assert all(keys.get("alt") for name, keys in page.elements if name == "img")
    assert list(links.broken(site)) == []


def test_the_site_is_valid_and_its_links_lead_somewhere(runs: Path) -> None:
    check(build(runs))


def test_the_first_page_says_what_is_new(runs: Path) -> None:
    page = text_of(build(runs), names.INDEX)
    assert f"regression FAIL {A}" in page
    assert "since 2026-11-04 02:00 6.12.3; last good 2026-11-03 02:00 6.12.2; 1 of 3 failed" in page
    assert f"fixed PASS {B}" in page


def test_a_runs_page_leads_to_the_line_of_the_console(runs: Path) -> None:
    site = build(runs)
    (third,) = runs.glob("2026*-0003")
    path = names.run(run_id(rundir.load(third)))
    page = links.read(site / path)
    assert "f at mm/f.c:7" in page.text
    (link,) = {each for each in page.links() if "console.html#" in each}
    assert link == f"../../{Path(path).parent}/console.html#L40"
    console = (site / path).with_name("console.html").read_text()
    assert re.search(r'<span id="L40">.*WARNING: CPU: 1', console)


def test_each_guest_of_a_run_has_its_console(runs: Path) -> None:
    made = record(4, {A: "FAIL", B: "PASS"}, runs)
    others = {"guests/2/serial.log": "WARNING\n", "guests/10/serial.log": "x\ny\nWARNING: CPU: 2\n"}
    for name, text in others.items():
        file = Path(made.run_dir) / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (splat,) = made.probes[0].splats
    splats = [
        msgspec.structs.replace(splat, console=name, offset=4) for name in (*others, "gone.log")
    ]
    probes = (msgspec.structs.replace(made.probes[0], splats=(splat, *splats)), made.probes[1])
    (Path(made.run_dir) / rundir.RESULT).write_bytes(
        to_json(msgspec.structs.replace(made, probes=probes))
    )
    site = build(runs)
    check(site)
    path = names.run(run_id(made))
    page = links.read(site / path)
    assert "ConsoleConsole of guest 2Console of guest 10" in "".join(page.text.split("\n"))
    assert "line 3 of the console of guest 10" in page.text
    linked = [Path(link).name for link in page.links() if "console" in link and "#" in link]
    assert linked == ["console.html#L40", "console-2.html#L1", "console-10.html#L3"]
    console = (site / path).with_name("console-10.html").read_text()
    assert re.search(r'<span id="L3">.*WARNING: CPU: 2', console)
    assert "<h1>Console of guest 10</h1>" in console


def test_a_runs_page_says_how_the_configuration_differs(runs: Path) -> None:
    configs = {
        1: "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=1\n",
        2: "CONFIG_A=m\nCONFIG_C=7\nCONFIG_D=1\n",
    }
    for number, text in configs.items():
        (directory,) = runs.glob(f"2026*-{number:04}")
        config = runs.parent / f"config-{number}"
        config.write_text(text)
        (directory / rundir.INGREDIENTS).write_bytes(to_json(ingredients(str(config))))
    site = build(runs)
    check(site)
    (second,) = runs.glob("2026*-0002")
    page = links.read(site / names.run(run_id(rundir.load(second)))).text
    assert "3 symbols of the configuration" in page
    for line in ("A: y before, m now", "B: n before, absent now", "C: absent before, 7 now"):
        assert f"CONFIG_{line}" in page


def test_the_lines_that_a_run_reached_have_a_page(runs: Path, tmp_path: Path) -> None:
    (third,) = runs.glob("2026*-0003")
    shutil.copytree(made(tmp_path / "counted", "-O0") / rundir.COVERAGE, third / rundir.COVERAGE)
    site = build(runs)
    check(site)
    path = names.coverage(run_id(rundir.load(third)))
    assert "mm/hugetlb.c" in text_of(site, path)
    assert "poisoned11none minor31" in text_of(site, path)
    links_of_run = links.read((site / path).with_name("index.html")).links()
    assert f"../../{path}" in links_of_run


def test_counts_that_cannot_be_read_do_not_stop_the_report(runs: Path) -> None:
    (third,) = runs.glob("2026*-0003")
    (third / rundir.COVERAGE).mkdir()
    result = report(runs)
    assert "-0003 reached are not shown: " in result.output
    check(runs.parent / "site")


def test_a_runs_study_has_a_page_with_counts_apart_from_times(runs: Path) -> None:
    probe = "hgm/postcopy/1G"
    made = record(4, {probe: "PASS", A: "PASS"}, runs)
    add_study(made, probe)
    site = build(runs)
    check(site)
    path = names.study(run_id(made))
    counts, _, times = text_of(site, path).partition("Times; emulated, they compare neither")
    assert "hugetlb 1G, split" in counts
    assert "8 KiB" in counts
    assert "1.02 us" in times
    assert f"{probe} > twoSKIP: <b>no such bit</b>" in times
    pictures = [link for link in links.read(site / path).links() if link.endswith(".svg")]
    assert [Path(each).name for each in pictures[1:]] == ["study-bytes.svg", "study-times.svg"]
    assert f"../../{path}" in links.read((site / path).with_name("index.html")).links()
    (third,) = runs.glob("2026*-0003")
    assert not (site / names.study(run_id(rundir.load(third)))).exists()


def test_a_runs_page_shows_the_page_tables_at_checkpoints(runs: Path) -> None:
    damaged = ("c/x/2M", "d/x/2M")
    made = record(4, {A: "FAIL", B: "PASS", **dict.fromkeys(damaged, "FAIL")}, runs)
    directories = [add_checkpoint(made, name) for name in (*damaged, A, B)]
    (directories[0] / "checkpoint-1.pages").write_bytes(b"damaged")
    (directories[1] / rundir.KTAP).unlink()
    site = build(runs)
    check(site)
    path = names.run(run_id(made))
    maps = [f"../../{names.page_map(run_id(made), name)}" for name in (A, damaged[1], B)]
    elements = links.read(site / path).elements
    pictures = [keys for name, keys in elements if name == "img"]
    shown = "checkpoint 1: 0x7fd97aa00000 to 0x7fd97ac00000, 2 MiB: 1 PMD"
    assert [(each["src"], each["alt"]) for each in pictures] == [
        (maps[0], f"Page tables of {A}, {shown}"),
        (maps[1], f"Page tables of {damaged[1]}, {shown}"),
        (maps[2], f"Page tables of {B}, {shown}"),
    ]
    linked = {keys["href"] for name, keys in elements if name == "a" and "/map-" in keys["href"]}
    assert linked == set(maps)
    drawn = (site / names.page_map(run_id(made), B)).read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in drawn
    assert drawn.count('class="pmd"') == 512 + 1  # and one in the legend
    assert "prefers-color-scheme:dark" in drawn


def test_page_tables_that_are_not_those_of_the_record_are_not_drawn(runs: Path) -> None:
    made = record(4, {A: "FAIL", B: "PASS"}, runs)
    add_checkpoint(made, A)
    made = rundir.load(Path(made.run_dir))
    (found,) = made.probes[0].checkpoints
    huge = msgspec.structs.replace(found, length=1 << 60)
    first = msgspec.structs.replace(made.probes[0], checkpoints=(huge,))
    made = msgspec.structs.replace(made, probes=(first, *made.probes[1:]))
    (Path(made.run_dir) / rundir.RESULT).write_bytes(to_json(made))
    site = build(runs)
    check(site)
    assert not (site / names.page_map(run_id(made), A)).exists()


def test_a_tests_page_draws_how_long_it_took(runs: Path) -> None:
    elements = links.read(build(runs) / names.probe(A)).elements
    (line,) = [keys["points"] for name, keys in elements if name.endswith("polyline")]
    assert line == "0,0 150,0"  # the third night, in which it failed, is not in it
    (picture,) = [keys for name, keys in elements if name.endswith("svg")]
    assert picture["aria-label"] == "Times of the passes, oldest first"


def test_a_second_report_writes_nothing(runs: Path) -> None:
    site = build(runs)
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.is_file()}
    build(runs)
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.is_file()} == before


def test_several_processes_write_what_one_does(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def contents(site: Path) -> dict[str, bytes]:
        files = (path for path in site.rglob("*") if path.is_file())
        return {str(path.relative_to(site)): path.read_bytes() for path in files}

    one = contents(build(runs))
    shutil.rmtree(runs.parent / "site")
    monkeypatch.setattr(run_files, "_SEVERAL", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert contents(build(runs)) == one


def test_an_error_in_another_process_is_told_as_such(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs.parent / "site").mkdir()
    build(runs)
    shutil.rmtree(runs.parent / "site" / "run")
    (runs.parent / "site" / "run").write_text("in the way")
    monkeypatch.setattr(run_files, "_SEVERAL", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    error = report(runs).exception
    assert isinstance(error, SpecError)
    assert "--output: cannot write" in error.message


def test_a_new_run_leaves_the_pages_of_earlier_ones_alone(runs: Path) -> None:
    site = build(runs)
    (third,) = runs.glob("2026*-0003")
    identity = run_id(rundir.load(third))
    before = {path: path.stat().st_mtime_ns for path in (site / "run").rglob("*.html")}
    (third / rundir.SERIAL).write_text("not read again\n")
    record(4, {A: "PASS", B: "PASS"}, runs)
    build(runs)
    check(site)
    now = {path: path.stat().st_mtime_ns for path in (site / "run").rglob("*.html")}
    changed = {path for path in now if path in before and now[path] != before[path]}
    links_to_others = {names.run(identity), names.comparison(identity)}
    assert changed == {site / path for path in links_to_others}
    assert "after: 2026-11-05" in text_of(site, names.run(identity))
    assert len(now) > len(before)
    assert "2026-11-05 02:00" in text_of(site, names.INDEX)


@pytest.mark.parametrize("why", ["nothing", "a newer run", "another version", "no run before"])
def test_pages_of_a_run_stay_when_its_directory_is_gone(
    runs: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = build(runs)
    second, third = (next(runs.glob(f"2026*-{number:04}")) for number in (2, 3))
    identities = [run_id(rundir.load(each)) for each in (second, third)]
    pages = {path: path.read_bytes() for path in (site / names.run(identities[1])).parent.iterdir()}
    third.rename(runs.parent / "gone")
    if why == "a newer run":
        record(4, {A: "FAIL", B: "PASS"}, runs)
    elif why == "another version":
        monkeypatch.setattr(directory, "_version", lambda: "another")
    elif why == "no run before":
        second.rename(runs.parent / "gone too")
        with opened("", runs) as history:
            history.remove(identities[:1])
    build(runs)
    check(site)
    own = [site / names.run(identities[1]), site / names.comparison(identities[1])]
    now = {path: path.read_bytes() for path in pages if path.exists()}
    assert set(map(str, pages)) - set(map(str, now)) == set()
    assert {path for path in pages if now[path] != pages[path]} <= set(own)
    assert {path.name for path in pages} >= {"console.html", "ktap.html", "compare.html"}
    page = links.read(own[0])
    assert "f at mm/f.c:7" in page.text
    assert ("after: 2026-11-05" in page.text) == (why == "a newer run")
    assert ("before: 2026-11-03" in page.text) == (why != "no run before")
    assert build(runs) == site
    check(site)


def test_pages_stay_of_no_run_that_the_history_no_longer_has(runs: Path) -> None:
    site = build(runs)
    (first,) = runs.glob("2026*-0001")
    identity = run_id(rundir.load(first))
    first.rename(runs.parent / "gone")
    with opened("", runs) as history:
        history.remove([identity])
    build(runs)
    assert not (site / names.run(identity)).parent.exists()
    check(site)


def test_a_damaged_page_is_left_to_the_next_change_and_a_lost_one_is_written(runs: Path) -> None:
    site = build(runs)
    (site / names.MATRIX).unlink()
    build(runs)
    check(site)


def test_a_directory_with_other_files_is_not_written_to(runs: Path) -> None:
    site = runs.parent / "site"
    site.mkdir()
    (site / "thesis.tex").touch()
    result = report(runs)
    assert "has files and is not a site of hgm report" in str(result.exception)
    assert sorted(site.iterdir()) == [site / "thesis.tex"]


@pytest.mark.parametrize("named", [True, False])
def test_a_history_that_is_not_there_leaves_the_site_as_it_is(runs: Path, named: bool) -> None:
    site = build(runs)
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    words = ["report", *([str(runs)] if named else []), "--runs-dir", str(runs.parent / "typo")]
    result = CliRunner().invoke(main.hgm, [*words, "-o", str(site)], standalone_mode=False)
    assert isinstance(result.exception, RecordError)
    assert "there is no history" in result.exception.message
    assert not (runs.parent / "typo").exists()
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


def test_a_file_is_not_a_site(runs: Path) -> None:
    (runs.parent / "site").write_text("precious")
    error = report(runs).exception
    assert isinstance(error, SpecError)
    assert error.message == f"--output: cannot read {runs.parent}/site/site.json: Not a directory"
    assert (runs.parent / "site").read_text() == "precious"


def test_an_empty_history_makes_a_site(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    site = build(tmp_path / "runs")
    assert "The history has no runs." in text_of(site, names.INDEX)
    assert list(links.broken(site)) == []


def test_a_report_of_a_directory_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    assert "there is no directory" in str(report(tmp_path / "nowhere").exception)


def ingredients(config: str) -> Ingredients:
    """Return the ingredients of a run of whose kernel only the configuration is there."""
    made = night(1)
    assert made.kernel is not None
    assert made.accel is not None
    kernel = Kernel(
        key="",
        release="",
        image="",
        config=config,
        source=made.kernel.source,
        series=made.kernel.series,
        configuration=made.kernel.config,
    )
    image = GuestImage(key="", initramfs="", disk="", manifest="")
    return Ingredients(
        kernel=kernel,
        image=image,
        machine=MACHINE,
        accel=made.accel,
        specs=(),
        programs={},
        digests={},
    )


# ---- hostile text ------------------------------------------------------------------------------


def hostile_run(runs: Path, number: int) -> None:
    """Write the directory of a run with an eighth of the hostile lines in every place."""
    plain = night(number)
    made = hostile.record(hostile.LINES[number::8], number)
    directory = runs / plain.run_dir.rpartition("/")[2]
    probes = []
    for probe in made.probes:
        name = probe.name[:20]  # of a real probe, which has a directory
        where = rundir.directory_for(name)
        (directory / where).mkdir(parents=True, exist_ok=True)
        (directory / where / rundir.KTAP).write_text(probe.splats[0].title, errors="replace")
        (directory / where / rundir.STDERR).touch()
        probes.append(msgspec.structs.replace(probe, name=name, directory=where))
    (directory / rundir.SERIAL).write_text("\n".join(hostile.LINES), errors="replace")
    made = msgspec.structs.replace(
        made,
        run_dir=str(directory),
        started=plain.started,
        request=msgspec.structs.replace(REQUEST, kernel=hostile.LINES[0]),
        machine=plain.machine,
        probes=tuple(probes),
    )
    (directory / rundir.RESULT).write_bytes(to_json(made))


def plain(text: str) -> str:
    """Return a text without what no page shows as it is: control characters and the like."""
    return "".join(
        each for each in text if each.isprintable() and each != "\N{REPLACEMENT CHARACTER}"
    )


def test_no_text_of_a_guest_becomes_markup(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for number in range(8):
        hostile_run(runs, number)
    site = build(runs)
    check(site)
    printed = [lines.clean(part[:4000]) for line in hostile.LINES for part in line.split("\n")]
    for name, texts in (("index", hostile.LINES), ("console", printed), ("ktap", printed)):
        shown = plain("".join(links.read(path).text for path in site.glob(f"run/*/{name}.html")))
        assert [text for text in texts if plain(text) not in shown] == [], name
    shown = "".join(links.read(path).text for path in links.pages(site))
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", shown)
