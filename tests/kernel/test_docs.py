# SPDX-License-Identifier: GPL-2.0-only
"""The examples of the documentation, followed to the letter on real kernels."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "docs" / "howto"

_SECONDS = 1500


def blocks(page: Path, language: str) -> list[str]:
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [text for marked, text in fence.findall(page.read_text()) if marked == language]


def python(*words: str, cwd: Path, source: Path) -> subprocess.CompletedProcess[str]:
    """Run Python on the code below a directory, as a user in another place would."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    sys.stderr.write(done.stderr)  # pytest shows it if the test fails
    return done


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the checkout, edits included, that a test may add files to."""
    copy = tmp_path / "checkout"
    listed = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
            (copy / name).chmod((ROOT / name).stat().st_mode)
    return copy


def add_the_probes(checkout: Path, page: Path) -> Path:
    """Do what the page says, and return the C source."""
    source = checkout / "probes" / "c" / "two_pages.c"
    source.write_text(blocks(page, "c")[0])
    (checkout / "probes" / "python" / "two_pages.py").write_text(blocks(page, "python")[0])
    catalogue = checkout / "probes" / "catalog.toml"
    catalogue.write_text("\n".join([catalogue.read_text(), *blocks(page, "toml")]))
    return source


def test_a_probe_is_added_by_the_words_of_its_page(checkout: Path) -> None:
    page = HOWTO / "writing-a-probe.md"
    source = add_the_probes(checkout, page)
    run = ("-m", "harness.cli", "run", "--json", "--probe")
    done = python(*run, "hgm/two-pages*", cwd=checkout, source=checkout)
    assert done.returncode == 0, done.stderr
    probes = json.loads(done.stdout)["probes"]
    assert {probe["name"]: probe["status"] for probe in probes} == {
        "hgm/two-pages/1G": "PASS",
        "hgm/two-pages/2M": "PASS",
        "hgm/two-pages-py/1G": "PASS",
        "hgm/two-pages-py/2M": "PASS",
    }

    # And it fails as the page shows.
    source.write_text(source.read_text().replace("== 2, ", "== 3, ").replace("2 pages", "3 pages"))
    done = python(*run, "hgm/two-pages/2M", cwd=checkout, source=checkout)
    assert done.returncode == 1, done.stderr
    (ktap,) = (checkout / "runs" / "latest" / "probes").glob("*/ktap")
    (shown,) = (text for text in blocks(page, "") if "not ok" in text)
    assert ktap.read_text().endswith(shown)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", HOWTO / "host-tests.md"], ids=lambda p: p.name
)
def test_the_example_of_a_host_side_test_passes(page: Path, tmp_path: Path) -> None:
    (example,) = blocks(page, "python")
    (tmp_path / "test_example.py").write_text(example)
    done = python(
        # The plugin of this checkout, whether or not the environment has it installed.
        *("-m", "pytest", "-q", "-p", "no:hgm", "-p", "harness.pytest_plugin", "test_example.py"),
        cwd=tmp_path,
        source=ROOT,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
