# SPDX-License-Identifier: GPL-2.0-only
"""What is made while make compiles a kernel, for a kernel that was built."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness import command
from harness.deadline import Deadline
from harness.probes import catalog
from harness.probes import compile as programs
from harness.run import beside
from harness.run.prepare import Prepared
from harness.workspace import Workspace


def test_probes_are_compiled_before_the_run_asks_for_them(
    hgm_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, kernel = hgm_prepared.context, hgm_prepared.kernel
    own = Workspace(tmp_path / "cache")
    own.cache.mkdir()
    for room in ("images", "recipes"):  # an image takes a minute to make
        (own.cache / room).symlink_to(context.workspace.room(room))
    context = replace(context, workspace=own)
    specs = [spec for spec in catalog.load() if spec.source in ("c/pool.c", "c/pool_sizes.c")]
    with beside.start(kernel, specs, context) as process:
        assert process.wait(context.deadline) == 0

    def compiler(*_: object) -> None:
        raise AssertionError("everything was compiled")

    monkeypatch.setattr(command, "run", compiler)
    found = programs.compile_probes(specs, context, kernel=kernel, log=tmp_path / "log")
    assert {"pool", "pool_sizes", "counters"} <= set(found)


def test_it_ends_with_the_build_and_leaves_nothing_half_made(
    hgm_prepared: Prepared, tmp_path: Path
) -> None:
    context = replace(hgm_prepared.context, workspace=Workspace(tmp_path / "cache"))
    with beside.start(hgm_prepared.kernel, catalog.load(), context) as process:
        limit = Deadline.after(60, "the first file")
        while not list(tmp_path.glob("cache/tmp/*")):
            limit.check()
            time.sleep(0.01)
        assert process.poll() is None
    assert list(tmp_path.glob("cache/tmp/*")) == []
