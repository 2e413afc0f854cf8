# SPDX-License-Identifier: GPL-2.0-only
"""The site in real headless Chromium: no errors, filters and links work, axe-core finds nothing.

Debian's packages `chromium` and `fonts-dejavu-core` must be installed. With ``HGM_SCREENSHOTS`` set
to a directory, the five main pages are kept there as PNG, at two widths, light and dark.
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
from tests.component.site.nights import record
from tests.component.site.test_site import build

A, B = "a/x/1G", "b/<script>alert(1)</script>/2M"

_OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_WIDTHS = (390, 1440)


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
    """Return a site of three nights, or the one that HGM_SITE names."""
    given = os.environ.get("HGM_SITE")
    if given:
        return Path(given).absolute()
    runs = tmp_path_factory.mktemp("site") / "runs"
    record(1, {A: "PASS", B: "PASS"}, runs)
    record(2, {A: "PASS", B: "FAIL"}, runs, key="one")
    third = record(3, {A: "FAIL", B: "PASS"}, runs, key="one")
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
    """Return the paths of the main pages by name; those of the run with the most to show."""
    run = max(site.glob("run/*/index.html"), key=lambda path: path.stat().st_size)
    test = max(site.glob("probe/*.html"), key=lambda path: path.stat().st_size)
    here = run.relative_to(site).parent
    covered = [str(path.relative_to(site)) for path in site.glob("run/*/coverage.html")]
    return {
        **({"coverage": covered[0]} if covered else {}),
        "index": names.INDEX,
        "matrix": names.MATRIX,
        "run": f"{here}/index.html",
        "test": str(test.relative_to(site)),
        "trends": names.TRENDS,
        "runs": names.RUNS,
        "console": f"{here}/console.html",
        "differences": str(next(site.glob("run/*/compare.html")).relative_to(site)),
    }


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


def test_links_lead_from_what_is_new_to_the_line_of_the_console(page: Page, site: Path) -> None:
    page.goto(url(site, names.INDEX))
    page.get_by_role("link", name="2026-11-04").first.click()
    assert "6.12.3" in page.locator("main").inner_text()
    page.get_by_role("link", name="of the console").first.click()
    assert page.url.endswith("console.html#L40")
    assert "WARNING: CPU: 1" in page.locator("span:target").inner_text()


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


def test_without_scripts_everything_can_be_read(browser: Browser, site: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(url(site, main_pages(site)["run"]))
        assert page.locator("table.probes tbody tr:not(.group)").count() == 2
        assert page.locator(".filter").count() == 0
