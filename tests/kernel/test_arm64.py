# SPDX-License-Identifier: GPL-2.0-only
"""An arm64 guest on any host. Its kernel is Debian's own, so that none is built for it."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import apt, command
from harness.arch import arch
from harness.context import Context
from harness.image import image
from harness.kernel.obtain import KernelRequest
from harness.probes import catalog
from harness.records.probe import ProbeSpec
from harness.records.run import RunRecord
from harness.run import listener, prepare
from harness.run.subject import Subject
from harness.vm import spec as machine_spec
from tests.kernel.conftest import probed

ARM64 = arch("arm64")

#: Depends on Debian's newest kernel of the release.
NEWEST = "linux-image-cloud-arm64"

#: What maps a page of each size: the level of the entries, their number, how many are contiguous.
MAPPED = {"1G": ("pud", 1, 0), "2M": ("pmd", 1, 0), "32M": ("pmd", 16, 16), "64K": ("pte", 16, 16)}

PANIC = ProbeSpec(
    name="crash/panic", shows="", source="c/crash.c", language="c", arguments=("panic",), budget=20
)


def fetch(archive: apt.Apt, packages: Sequence[apt.Package], context: Context, into: Path) -> Path:
    """Unpack packages of Debian, and return the root they are in."""
    debs, root = into / "debs", into / "root"
    debs.mkdir()
    for deb in archive.download(packages, debs).values():
        command.run(["dpkg-deb", "--extract", str(deb), str(root)], context.deadline)
    return root


@pytest.fixture
def debian_kernel(hgm_context: Context, tmp_path: Path) -> str:
    """Return Debian's kernel as ``--kernel`` takes it, with its modules beside it."""
    suite = image.read_recipes(ARM64).initramfs.suite
    archive = apt.Apt(apt.release(suite), hgm_context, ARM64.debian)
    wanted = [one for one in archive.resolve([NEWEST]) if re.match(r"linux-image-\d", one.name)]
    root = fetch(archive, wanted, hgm_context, tmp_path)
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    return f"image:{kernel}"


@pytest.fixture
def backported_kernel(hgm_context: Context, tmp_path: Path) -> str:
    """Return Debian's newest, which has the modules in another package, and is among them."""
    suite = image.read_recipes(ARM64).initramfs.suite
    archive = apt.Apt((f"{suite}-backports",), hgm_context, ARM64.debian)
    binaries = [
        one for one in archive.offers("linux-binary-") if one.package.endswith("-cloud-arm64")
    ]
    newest = max(
        binaries, key=lambda one: [int(number) for number in re.findall(r"\d+", one.version)]
    )
    names = (newest.package, newest.package.replace("-binary-", "-modules-"))
    wanted = [archive.package(name, newest.version) for name in names]
    root = fetch(archive, wanted, hgm_context, tmp_path)
    (kernel,) = (root / "usr/lib/modules").glob("*/vmlinuz")
    return f"image:{kernel}"


def notes_on_page_tables(record: RunRecord) -> list[str]:
    return [note for note in record.notes if note.startswith("page tables are not compared")]


def test_probes_pass_and_a_panic_is_a_crash(
    debian_kernel: str, hgm_context: Context, tmp_path: Path
) -> None:
    names = [f"baseline/memfd-alias/{size}" for size in MAPPED]
    specs = (*catalog.select(catalog.load(sizes=MAPPED), names), PANIC)
    pages = machine_spec.parse_hugepages("1G:1,32M:1,2M:2,64K:2", ARM64.name)
    subject = Subject(
        kernel=KernelRequest(source=debian_kernel, arch=ARM64.name),
        machine=machine_spec.machine(pages, arch_name=ARM64.name),
    )
    silent = listener.NullListener(hgm_context.progress)
    prepared = prepare.prepare(subject, specs, hgm_context, tmp_path, silent)
    kept = probed(prepared, specs, tmp_path / "runs")
    *aliases, panicked = kept.record.probes
    assert [(probe.name, probe.status) for probe in aliases] == [(name, "PASS") for name in names]
    for probe, mapped in zip(aliases, MAPPED.values(), strict=True):
        (checkpoint,) = probe.checkpoints
        assert checkpoint.problems == ()
        (level,) = checkpoint.levels
        assert (level.level, level.present, level.contiguous) == mapped
    # Its stacks are mapped too, but their page tables do not count before 6.16.
    assert notes_on_page_tables(kept.record) == []
    assert panicked.status == "CRASH", panicked.reason
    assert panicked.blame.startswith("sysrq_handle_crash")


def test_no_probe_is_charged_with_page_tables_of_the_kernel(
    backported_kernel: str, hgm_context: Context, tmp_path: Path
) -> None:
    """Since 6.16 it counts its own, which stacks of new tasks need with CONFIG_VMAP_STACK."""
    chosen = catalog.select(catalog.load(sizes=MAPPED), ["baseline/memfd-map/64K"])
    specs = catalog.repeated(chosen, 30)
    subject = Subject(
        kernel=KernelRequest(source=backported_kernel, arch=ARM64.name),
        machine=machine_spec.machine(
            machine_spec.parse_hugepages("64K:16", ARM64.name), arch_name=ARM64.name
        ),
    )
    silent = listener.NullListener(hgm_context.progress)
    prepared = prepare.prepare(subject, specs, hgm_context, tmp_path, silent)
    kept = probed(prepared, specs, tmp_path / "runs")
    assert {(probe.status, probe.reason) for probe in kept.record.probes} == {("PASS", "")}
    assert notes_on_page_tables(kept.record) == [
        "page tables are not compared between probes: PageTables has this kernel's own, which"
        " change with the stacks of tasks (CONFIG_VMAP_STACK)"
    ]
