# SPDX-License-Identifier: GPL-2.0-only
"""Our fragments on the kernels that we claim: configured, not built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.kernel import fragments
from tests.kernel.conftest import Run

#: Features that exclude another one, or what is there without them.
EXCLUSIVE = {"no-hgm", "64k-pages"}

#: What each kernel does not know of our fragments. Another symbol here means that Kconfig has
#: changed: find out what replaced it.
NEVER = {"HUGETLB_HIGH_GRANULARITY_MAPPING", "HGM_CRASHES"}
UNKNOWN = {
    ("6.1", "x86_64"): {"HARDLOCKUP_DETECTOR_PREFER_BUDDY", "NUMA_MIGRATION"},
    ("6.12", "x86_64"): {"RANDOM_TRUST_CPU", "NUMA_MIGRATION"},
    ("6.12", "arm64"): {"RANDOM_TRUST_CPU", "NUMA_MIGRATION"},
    ("7.2", "x86_64"): {"RANDOM_TRUST_CPU", "X86_5LEVEL"},
    ("7.3", "x86_64"): {"RANDOM_TRUST_CPU", "X86_5LEVEL", "PROC_SYSCTL"},
    ("7.3", "arm64"): {"RANDOM_TRUST_CPU", "PROC_SYSCTL"},
}


def check_of(version: str, arch: str, log: Path) -> tuple[str, ...]:
    kernel = ("--kernel", f"debian:linux-source-{version}", "--series", "none", "--arch", arch)
    return ("kernel", "config", "--check", "--log", str(log), *kernel)


@pytest.mark.parametrize(("version", "arch"), UNKNOWN)
def test_every_feature_can_be_configured(
    version: str, arch: str, hgm: Callable[..., Run], tmp_path: Path
) -> None:
    check = check_of(version, arch, tmp_path / "log")
    known = {path.stem for path in fragments.DIRECTORY.glob("*.config")}
    features = known - set(fragments.ALWAYS) - EXCLUSIVE
    done = hgm(*check, *(word for name in sorted(features) for word in ("--config", name)))
    assert done.code == 0, done.err
    assert {line.split("=")[0].strip() for line in done.out.splitlines()[1:]} == {
        f"CONFIG_{symbol}" for symbol in NEVER | UNKNOWN[version, arch]
    }


@pytest.mark.parametrize(("version", "arch"), UNKNOWN)
def test_base_pages_of_64_kib_are_a_feature_of_arm64_alone(
    version: str, arch: str, hgm: Callable[..., Run], tmp_path: Path
) -> None:
    done = hgm(*check_of(version, arch, tmp_path / "log"), "--config", "64k-pages")
    if arch == "arm64":
        assert done.code == 0, done.err
    else:
        assert done.code == 2
        assert "CONFIG_ARM64_64K_PAGES=y (kernel-configs/64k-pages.config:" in done.err
        assert f"is unknown to kernel {version}." in done.err


@pytest.mark.parametrize("version", sorted({version for version, _ in UNKNOWN}))
def test_what_cannot_be_configured_is_named(
    version: str, hgm: Callable[..., Run], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.config"
    mine.write_text("# CONFIG_X86_MCE is not set\nCONFIG_NO_SUCH_SYMBOL=y\nCONFIG_ARM64_MTE=y\n")
    refused = hgm(*check_of(version, "x86_64", tmp_path / "log"), "--config", str(mine))
    assert (refused.code, refused.out) == (2, "")
    for lacking in (
        "CONFIG_MEMORY_FAILURE=y (kernel-configs/base.config:",
        "became n: needs ARCH_SUPPORTS_MEMORY_FAILURE(=n)",
        f"CONFIG_NO_SUCH_SYMBOL=y ({mine}:2) is unknown to kernel {version}.",
        f"CONFIG_ARM64_MTE=y ({mine}:3) is unknown to kernel {version}.",
    ):
        assert lacking in refused.err
