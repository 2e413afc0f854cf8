# SPDX-License-Identifier: GPL-2.0-only
"""The site in real headless Chromium: no errors, filters and links work, axe-core finds nothing.

Debian's packages `chromium` and `fonts-dejavu-core` must be installed. With ``HGM_SCREENSHOTS`` set
to a directory, the main pages are kept there as PNG, at two widths, light and dark.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, sync_playwright

from harness.site import names
from harness.store import rundir
from harness.store.history.cell import run_id
from tests.component.evidence.test_coverage import made
from tests.component.site import links
from tests.component.site.nights import add_checkpoint, add_study, record
from tests.component.site.test_site import build

A, B, STUDY = "a/x/1G", "b/<script>alert(1)</script>/2M", "hgm/postcopy/1G"

_OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
#: Pixels of a run's page up to its first probes, once all its pictures are there.
_UP_TO_PROBES = """async () => {
    for (const each of [...document.querySelectorAll(".map")].slice(0, 1)) each.open = true;
    const pictures = [...document.images].filter((each) => each.checkVisibility());
    for (const each of pictures) each.loading = "eager";
    await Promise.all(pictures.map((each) => each.decode()));
    const table = document.querySelector("table.probes").getBoundingClientRect();
    return Math.ceil(Math.min(table.top + 400, document.documentElement.scrollHeight));
}"""
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_WIDTHS = (390, 1440)
#: Milliseconds from the request until the page could be used.
_INTERACTIVE = "performance.getEntriesByType('navigation')[0].domInteractive"


#: Another site does not have the runs that these ask for.
_own = pytest.mark.skipif("HGM_SITE" in os.environ, reason="asks for the runs of its own site")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "chromium is not installed: apt-get install chromium fonts-dejavu-core"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a site of three nights with a page of each kind, or the one that HGM_SITE names."""
    given = os.environ.get("HGM_SITE")
    if given:
        return Path(given).absolute()
    runs = tmp_path_factory.mktemp("site") / "runs"
    first = record(1, {A: "PASS", B: "PASS", STUDY: "PASS"}, runs)
    add_study(first, STUDY)
    record(2, {A: "PASS", B: "FAIL"}, runs, key="one")
    third = record(3, {A: "FAIL", B: "PASS"}, runs, key="one")
    add_checkpoint(third, A)
    add_checkpoint(third, B)
    counted = made(tmp_path_factory.mktemp("counted"), "-O0")
    shutil.copytree(counted / rundir.COVERAGE, Path(third.run_dir) / rundir.COVERAGE)
    return build(runs)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page that fails the test if anything is reported on the browser's console."""
    with browser.new_context() as context:
        opened = context.new_page()
        said: list[str] = []
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("requestfailed", lambda request: said.extend(_failures(request)))
        yield opened
        assert said == []


def _failures(request: Request) -> Iterator[str]:
    """Yield what failed, but for an icon that was not there yet when the next page was opened."""
    if request.failure != "net::ERR_ABORTED":
        yield f"{request.url}: {request.failure}"


def url(site: Path, path: str) -> str:
    return (site / path).as_uri()


def main_pages(site: Path) -> dict[str, str]:
    """Return the paths of the main pages by name; of each kind the one with the most to show.

    A run with a map is taken before others. A site need not have a page of each kind; that of the
    tests has.
    """
    kinds = {
        "index": names.INDEX,
        "matrix": names.MATRIX,
        "run": "run/*/index.html",
        "test": "probe/*.html",
        "trends": names.TRENDS,
        "runs": names.RUNS,
        "cell": "cell/*.html",
        "console": "run/*/console.html",
        "output": "run/*/ktap.html",
        "differences": "run/*/compare.html",
        "coverage": "run/*/coverage.html",
        "study": "run/*/study.html",
    }
    mapped = {path.with_name("index.html") for path in site.glob("run/*/map-*.svg")}
    shown = {path for path in mapped if "<img" in path.read_text()}

    def how_much(path: Path) -> tuple[bool, int]:
        return path in shown, path.stat().st_size

    found = {name: list(site.glob(glob)) for name, glob in kinds.items()}
    return {
        name: str(max(paths, key=how_much).relative_to(site))
        for name, paths in found.items()
        if paths
    }


@_own
def test_the_site_of_the_tests_has_a_page_of_each_kind(site: Path) -> None:
    found = main_pages(site)
    assert len(found) == 12
    shown = (site / found["run"]).read_text()
    assert (shown.count("<img"), shown.count('<details class="map"')) == (2, 1)


@pytest.mark.parametrize("scheme", _SCHEMES)
@pytest.mark.parametrize("width", _WIDTHS)
def test_axe_finds_nothing_serious(
    browser: Browser, site: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    kept = os.environ.get("HGM_SCREENSHOTS")
    found: list[str] = []
    for name, path in main_pages(site).items():
        with browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        ) as context:
            page = context.new_page()
            page.goto(url(site, path))
            if kept:
                if name == "run":
                    height = page.evaluate(_UP_TO_PROBES)
                    page.set_viewport_size({"width": width, "height": height})
                page.screenshot(path=Path(kept) / f"{name}-{width}-{scheme}.png")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} pixels wide"
            result = Axe().run(page).response["violations"]
            found += [
                f"{name}: {each['id']}: {node['html']}"
                for each in result
                if each["impact"] in ("serious", "critical")
                for node in each["nodes"]
            ]
    assert found == []


def test_every_page_opens_without_an_error(page: Page, site: Path) -> None:
    for path in sorted(site.rglob("*.html"))[:200]:
        page.goto(path.as_uri())
        assert page.locator("h1").count() == 1


@_own
def test_links_lead_from_what_is_new_to_the_line_of_the_console(page: Page, site: Path) -> None:
    page.goto(url(site, names.INDEX))
    page.get_by_role("link", name="2026-11-04").first.click()
    assert "6.12.3" in page.locator("main").inner_text()
    page.get_by_role("link", name="of the console").first.click()
    assert page.url.endswith("console.html#L40")
    assert "WARNING: CPU: 1" in page.locator("span:target").inner_text()


@_own
def test_a_filter_hides_rows(page: Page, site: Path) -> None:
    runs = site.parent / "runs"
    (third,) = runs.glob("2026*-0003")
    page.goto(url(site, names.run(run_id(rundir.load(third)))))
    rows = page.locator("table.probes tbody tr:not(.group):visible")
    assert rows.count() == 2
    page.get_by_role("searchbox").fill("script")
    assert rows.count() == 1
    assert page.locator("output").inner_text() == "1 of 2"
    page.get_by_role("searchbox").fill("")
    page.get_by_role("combobox").select_option("FAIL")
    assert rows.all_inner_texts()[0].startswith(A)
    assert page.locator("tr.group:visible").count() == 1


@_own
def test_the_matrix_shows_what_is_flaky(page: Page, site: Path) -> None:
    page.goto(url(site, names.MATRIX))
    page.get_by_role("combobox").select_option("flaky")
    shown = page.locator("table.matrix tbody tr:visible th").all_inner_texts()
    assert shown == [A, B]


def test_the_skip_link_leads_to_the_content(page: Page, site: Path) -> None:
    page.goto(url(site, names.INDEX))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


#: What the focus is on: what it is, whether it can be seen, and whether that is marked.
_FOCUS = """() => {
    const it = document.activeElement;
    const box = it.getClientRects()[0], style = getComputedStyle(it);
    // Of what is taller than the window, the part that is in it.
    const middle = (start, end, size) => (Math.max(start, 0) + Math.min(end, size)) / 2;
    const top = document.elementFromPoint(
        middle(box.left, box.right, innerWidth), middle(box.top, box.bottom, innerHeight));
    return {
        what: it === document.body ? "" : it.outerHTML.slice(0, 200),
        seen: Boolean(top) && (it.contains(top) || top.contains(it)),
        marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    };
}"""

#: How many elements the Tab key leads to.
_STOPS = """() => [...document.querySelectorAll("a[href], summary, input, select, [tabindex='0']")]
    .filter((it) => it.checkVisibility()).length"""

_MOST_STOPS = 300


@pytest.mark.parametrize("width", _WIDTHS)
@pytest.mark.parametrize("name", ["index", "matrix", "run"])
def test_the_tab_key_leads_to_everything_and_shows_where_it_is(
    page: Page, site: Path, name: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(url(site, main_pages(site)[name]))
    stops = min(page.evaluate(_STOPS), _MOST_STOPS)
    assert stops > 10
    met = []
    for _ in range(stops):
        page.keyboard.press("Tab")
        focus = page.evaluate(_FOCUS)
        assert focus["seen"], focus["what"]
        assert focus["marked"], focus["what"]
        met.append(focus["what"])
    assert all(met)
    if stops < _MOST_STOPS:
        page.keyboard.press("Tab")
        assert page.evaluate(_FOCUS)["what"] in ("", met[0]), "there is something more"


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is on an element."""
    for _ in range(_MOST_STOPS):
        page.keyboard.press("Tab")
        if page.evaluate("(it) => document.activeElement.matches(it)", selector):
            return
    pytest.fail(f"the Tab key does not lead to {selector}")


@_own
def test_a_filter_can_be_used_by_keyboard(page: Page, site: Path) -> None:
    page.goto(url(site, names.MATRIX))
    rows = page.locator("table.matrix tbody tr:visible")
    total = rows.count()
    tab_to(page, "input[type=search]")
    page.keyboard.type("script")
    assert 0 < rows.count() < total
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    tab_to(page, "select")
    page.keyboard.press("End")
    assert rows.locator("th").all_inner_texts() == [A, B]


def test_a_summary_opens_by_keyboard(page: Page, site: Path) -> None:
    page.goto(url(site, names.MATRIX))
    tab_to(page, "summary")
    legend = page.locator(".legend")
    assert not legend.is_visible()
    page.keyboard.press("Enter")
    assert legend.is_visible()


def test_without_scripts_everything_can_be_read(browser: Browser, site: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        for name, path in main_pages(site).items():
            page.goto(url(site, path))
            read = links.read(site / path)
            rows = sum(element == "tr" for element, _ in read.elements)
            assert page.locator("tr:visible").count() == rows, name
            assert page.locator(".filter").count() == 0, name
            for closed in reversed(page.locator("details:not([open]) > summary").all()):
                closed.click()
            shown = page.title() + page.locator("body").inner_text()
            assert "".join(shown.split()) == "".join(read.text.split()), name


@pytest.mark.skipif("HGM_SITE" not in os.environ, reason="three nights are always quick")
def test_the_main_pages_are_interactive_within_a_second(browser: Browser, site: Path) -> None:
    seconds = {}
    for name, path in main_pages(site).items():
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(url(site, path))
            seconds[name] = page.evaluate(_INTERACTIVE) / 1000
    assert {name: each for name, each in seconds.items() if each >= 1} == {}, seconds
