# SPDX-License-Identifier: GPL-2.0-only
"""No probe fails for the dialect alone: the reference that promises what the public series does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.conftest import Run

Hgm = Callable[..., Run]

V2 = ("--series", "hgm-6.12-v2")

#: Probes in which the dialects differ, and those whose work must go on all the same.
DIALECT = (
    "promises",
    "continue-across",
    "missing-mode",
    "mode-mixes",
    "collapse-*",
    "write-protect",
    "fork",
    "mremap",
    "mprotect",
    "unmap",
    "file-holes",
    "exits",
    "proc-views",
    "populate",
    "random",
)


def test_the_public_dialect_fails_no_probe(hgm: Hgm) -> None:
    globs = [word for name in DIALECT for word in ("--probe", f"hgm/{name}/2M")]
    run = hgm("run", *V2, *globs, "--json")
    assert run.code == 0, run.err
    assert set(run.statuses().values()) == {"PASS"}
    states = {each["name"]: each["state"] for each in run.record["promises"]}
    assert {name for name, state in states.items() if state == "kept"} == {
        "split",
        "contiguous-refused",
        "continue-base-pages",
        "read-write-protect-base-pages",  # of a kernel that protects nothing this way
        "minor-address",
        "collapse",
    }
    assert "unknown" not in states.values()
    assert "broken" not in states.values()
    # What is skipped is what the kernel does not offer, or what another size has.
    for probe in run.record["probes"]:
        for test in probe["subtests"]:
            if test["status"] == "SKIP" and test["rests_on"]:
                assert test["reason"].startswith("not offered: "), test


def test_a_profile_of_ones_own_decides(hgm: Hgm, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('offers = ["write-protect-base-pages"]\n')
    words = ("--probe", "hgm/promises/2M", "--expect", str(profile), "--json")
    assert hgm("run", *words).code == 0
    other = hgm("run", *V2, *words)
    assert other.code == 1
    assert f"expected {profile}, which offers write-protect-base-pages" in other.record["reason"]
    assert other.record["reason"].count("EINVAL") == 1


@pytest.mark.parametrize("name", ["", "hmg"])
def test_a_profile_that_does_not_exist_is_one_line(hgm: Hgm, name: str) -> None:
    run = hgm("run", "--expect", name)
    assert run.code == 2
    assert "is not a profile and not a file; profiles: hgm, hgm-v2" in run.err
