# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks of the harness end and are kept; what they measure is not tested."""

from collections.abc import Callable
from pathlib import Path

from tests.kernel.conftest import STOCK, Run

Hgm = Callable[..., Run]


def test_ratios_are_kept_and_shown_beside_those_of_the_next_time(hgm: Hgm, tmp_path: Path) -> None:
    parts = ("--part", "snapshot", "--part", "restore", "--part", "bisect")
    words = ("selfcheck", "bench", "all", "--kernel", STOCK, "--series", "none", *parts)
    more = ("--rounds", "1", "--runs-dir", str(tmp_path), "--svg", str(tmp_path / "ratios.svg"))
    first = hgm(*words, *more, "--json")
    assert first.code in (0, 1), first.err
    found = {part["name"]: part for part in first.record["parts"]}
    assert list(found) == ["snapshot", "restore", "bisect"]
    assert found["bisect"]["absent"] == "the fault is made for --series hgm-6.12"
    verdict, end = found["snapshot"]["ratios"]
    assert 0 < verdict["seconds"][0] < end["seconds"][0]
    assert verdict["base_seconds"] == end["base_seconds"]
    (restore,) = found["restore"]["ratios"]
    assert restore["seconds"][0] > 0
    assert "to the verdict" in (tmp_path / "ratios.svg").read_text()
    again = hgm(*words, *more)
    day = first.record["started"][:10]
    assert again.out.count(f" on {day}\n") == 3, again.out
