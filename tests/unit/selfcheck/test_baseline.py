# SPDX-License-Identifier: GPL-2.0-only
"""The bare make that benchmarks compare with."""

import platform
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.arch import arch
from harness.context import Context
from harness.deadline import Deadline
from harness.progress import Silent
from harness.selfcheck import baseline
from harness.workspace import Workspace


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x86_64", {"ARCH=x86_64", "CROSS_COMPILE=", "bzImage"}),
        ("aarch64", {"ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", "Image"}),
    ],
)
def test_a_bare_make_is_for_the_architecture_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: set[str]
) -> None:
    made: list[str] = []

    def cost(argv: Sequence[str], context: Context) -> baseline.Cost:
        made.extend(argv)
        return baseline.Cost(1.0, 1.0)

    monkeypatch.setattr(baseline, "cost", cost)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    own = Workspace(tmp_path)
    context = Context(own, Deadline.after(60, "the test"), Silent())
    baseline.BareTree(own, arch(name), context).make("headers_install")
    assert {*words, "headers_install"} <= set(made)
