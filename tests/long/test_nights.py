# SPDX-License-Identifier: GPL-2.0-only
"""Two nights of a matrix on real kernels; a patch of the series breaks one in the second night.

Each kernel is one file away from one that is in the cache.
"""

import email
import email.policy
import json
import mailbox
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.site import names as site_names
from tests.kernel import synthetic
from tests.kernel.conftest import STOCK, Run, hgm

__all__ = ["hgm"]

Hgm = Callable[..., Run]

PROBES = ("baseline/memfd-map/2M", "baseline/smaps/2M")

#: The program of the first probe maps no huge page.
_REFUSAL = '\tif (!strcmp(current->comm, "map"))\n\t\treturn -ENODEV;'
_PLACE = "\tvma_len = (loff_t)(vma->vm_end - vma->vm_start);"


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "night.toml"
    path.write_text(
        f"""
        kernels = ["{STOCK}"]
        series = ["none", "mbox:{tmp_path}/series.mbox"]
        [machines.usual]
        [probes.two]
        probes = {json.dumps(PROBES)}
        """
    )
    return path


def _mbox(path: Path, patches: dict[str, str]) -> None:
    """Write a series as its author would have sent it."""
    path.unlink(missing_ok=True)
    box = mailbox.mbox(path)
    for number, (name, text) in enumerate(patches.items(), 1):
        message = email.message_from_string(text)
        del message["Subject"]
        message["Subject"] = f"[PATCH v2 {number}/{len(patches)}] {name}"
        message["Message-ID"] = f"<{number}@localhost.invalid>"
        message["Date"] = f"Sat, 28 Nov 2026 02:00:0{number} +0000"
        if number > 1:
            message["In-Reply-To"] = "<1@localhost.invalid>"
        box.add(message)
    box.close()


def test_a_patch_of_the_second_night_is_named_and_its_author_gets_a_mail(
    hgm: Hgm, matrix: Path, tmp_path: Path
) -> None:
    text = synthetic.source_text(STOCK)
    good = {
        f"mm: comment {file}": synthetic.patch(file, text, "/* a comment */")
        for file in ("mm/init-mm.c", "mm/debug.c", "mm/msync.c")
    }
    bad = synthetic.patch("fs/hugetlbfs/inode.c", text, _REFUSAL, after=_PLACE)
    names = list(good)
    second = {names[0]: good[names[0]], "hugetlbfs: refuse": bad} | good
    where = ("--runs-dir", str(tmp_path / "runs"))
    night = ("matrix", str(matrix), *where, "--bisect-new")

    _mbox(tmp_path / "series.mbox", good)
    first_night = hgm(*night, "--json")
    assert first_night.code == 0, first_night.out
    assert json.loads(first_night.out)["bisections"] == []

    _mbox(tmp_path / "series.mbox", second)
    letters = ("--mail-dir", str(tmp_path / "mails"), "--from", "A Tester <a@localhost.invalid>")
    found = hgm(*night, *letters)
    assert found.code == 1, found.err
    assert "FOUND: 2 [PATCH v2 2/4] hugetlbfs: refuse" in found.err
    (result_file,) = (tmp_path / "runs").glob("matrix-*/matrix.json")
    result = json.loads(result_file.read_text())
    (bisection,) = result["bisections"]
    assert bisection["tests"] == [PROBES[0]]
    first_bad = result["cells"][1]["run_dir"]

    status = hgm("status", *where, "--json")
    assert status.code == 1
    (regression,) = [
        test
        for cell in json.loads(status.out)["cells"]
        for test in cell["tests"]
        if test["category"] == "regression"
    ]
    assert regression["name"] == PROBES[0]
    assert regression["first_bad"]["run_dir"] == first_bad

    assert hgm("report", "--output", str(tmp_path / "site"), *where).code == 0
    page = (tmp_path / "site" / "index.html").read_text()
    assert PROBES[0] in page
    assert "regression" in page
    assert f'href="{site_names.run(regression["first_bad"]["id"])}"' in page

    (path,) = (tmp_path / "mails").iterdir()
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert mail["In-Reply-To"] == "<2@localhost.invalid>"
    plain, config = mail.iter_parts()
    body = plain.get_content()
    assert config.get_filename() == "config.gz"
    assert "hugetlbfs: refuse" in body
    assert "fs/hugetlbfs/inode.c |    2 ++" in body
    assert f"hgm run --kernel {STOCK}" in body.replace("\\\n", "")
