# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.cache import CacheEntry, limit, to_remove
from harness.errors import SpecError


def test_limit_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGM_CACHE_LIMIT", "much")
    with pytest.raises(SpecError, match="HGM_CACHE_LIMIT"):
        limit()


def entry(
    path: str, size: int, used: float, *, kind: str = "kernel", pinned: bool = False
) -> CacheEntry:
    return CacheEntry(kind=kind, path=path, size=size, used=used, pinned=pinned)


def test_longest_unused_goes_first_and_no_more_than_needed() -> None:
    found = [entry("new", 10, 3), entry("old", 10, 1), entry("mid", 10, 2)]
    assert [e.path for e in to_remove(found, 15)] == ["old", "mid"]
    assert to_remove(found, 30) == ()


def test_pinned_stays_and_sources_go_last() -> None:
    found = [
        entry("store", 10, 1, kind="sources"),
        entry("busy", 10, 2, pinned=True),
        entry("idle", 10, 3),
    ]
    assert [e.path for e in to_remove(found, 20)] == ["idle"]
    assert [e.path for e in to_remove(found, 0)] == ["idle", "store"]
