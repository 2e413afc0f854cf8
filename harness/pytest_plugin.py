# SPDX-License-Identifier: GPL-2.0-only
"""pytest fixtures for host-side tests of a kernel: a kernel, a booted guest, and its channels.

::

    @pytest.mark.hgm_machine(hugepages="1G:1")
    def test_the_pool_is_there(hgm_ssh, hgm_deadline):
        answer = hgm_ssh.run(["cat", "/proc/meminfo"], hgm_deadline)
        assert "Hugetlb:         1048576 kB" in answer.stdout

Markers say what a test needs; without them it gets what `hgm run` takes by default. A guest is
booted for each test and ended with it, so one test cannot spoil another's. When a test fails, the
last lines of its guest's console are in pytest's report.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import pytest

if TYPE_CHECKING:
    from harness.arch import Arch
    from harness.context import Context
    from harness.deadline import Deadline
    from harness.progress import Progress
    from harness.records.kernel import Kernel
    from harness.records.machine import MachineSpec
    from harness.run.prepare import Prepared
    from harness.run.subject import Subject
    from harness.vm.console import Console
    from harness.vm.guest import Guest
    from harness.vm.qmp import Qmp
    from harness.vm.ssh import Ssh

_MARKERS = (
    "hgm_kernel(source, series='none', features=(), arch=''): the kernel that a test boots",
    "hgm_machine(hugepages=..., memory=None, cpus=2, nodes=1): the machine it boots on",
    "hgm_probes(*globs): the probes that its guest holds in /probes; none by default",
    "hgm_disk: its guest has the disk with Python and the GNU tools mounted",
)

_SECONDS = 3600.0
_TEST_SECONDS = 300.0
_LINES = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--hgm-kernel`` and ``--hgm-accel``."""
    group = parser.getgroup("hgm", "kernels under test")
    group.addoption("--hgm-kernel", default="debian:linux-source-6.12", help="kernel source spec")
    group.addoption("--hgm-accel", default="auto", choices=["auto", "kvm", "tcg"])


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Put the console of a failed test's guest into its report."""
    report = yield
    guest = getattr(item, "funcargs", {}).get("hgm_guest")
    if report.failed and guest is not None:
        lines = "\n".join(guest.console.last_lines(_LINES))
        report.sections.append((f"guest console, last {_LINES} lines", lines))
    return report


class _ReporterStream(io.TextIOBase):
    """Writes past pytest's capture, so that a build of minutes is not silent."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter")

    def write(self, text: str) -> int:
        if self._reporter is not None:
            self._reporter.write(text)
        return len(text)


@pytest.fixture(scope="session")
def _hgm_progress(request: pytest.FixtureRequest) -> Iterator[Progress]:
    from harness.report.progress import PlainProgress

    with PlainProgress(cast(TextIO, _ReporterStream(request.config))) as progress:
        yield progress


@pytest.fixture
def hgm_context(_hgm_progress: Progress) -> Context:
    """Return the workspace, progress and the test's deadline, which all stages work with."""
    from harness.context import Context
    from harness.deadline import Deadline
    from harness.workspace import Workspace

    deadline = Deadline.after(_SECONDS, "the test and what is built for it")
    return Context(Workspace.default(), deadline, _hgm_progress)


@pytest.fixture
def hgm_subject(request: pytest.FixtureRequest) -> Subject:
    """Return the kernel and machine that the test's markers ask for."""
    from harness.kernel import guest_arch
    from harness.kernel.obtain import KernelRequest
    from harness.run.subject import Subject

    marker = request.node.get_closest_marker("hgm_kernel")
    named = dict(marker.kwargs) if marker else {}
    source = marker.args[0] if marker and marker.args else request.config.option.hgm_kernel
    guest = guest_arch.choose(named.pop("arch", ""), source)
    return Subject(
        kernel=KernelRequest(source=source, arch=guest.name, **named),
        machine=_machine(request, guest),
        accel=request.config.option.hgm_accel,
    )


def _machine(request: pytest.FixtureRequest, guest: Arch) -> MachineSpec:
    from harness.sizes import parse_size
    from harness.vm import spec

    marker = request.node.get_closest_marker("hgm_machine")
    wanted = dict(marker.kwargs) if marker else {}
    pages = spec.parse_hugepages(wanted.pop("hugepages", guest.hugepages), guest.name)
    memory = wanted.pop("memory", None)
    size = None if memory is None else parse_size(memory, "memory")
    return spec.machine(pages, memory=size, arch_name=guest.name, **wanted)


@pytest.fixture
def hgm_prepared(
    request: pytest.FixtureRequest, hgm_subject: Subject, hgm_context: Context, tmp_path: Path
) -> Prepared:
    """Return the kernel, image, probes and accelerator, all ready."""
    from harness.probes import catalog
    from harness.run import listener, prepare

    marker = request.node.get_closest_marker("hgm_probes")
    specs = catalog.select(catalog.load(), marker.args) if marker else ()
    progress = listener.NullListener(hgm_context.progress)
    return prepare.prepare(hgm_subject, specs, hgm_context, tmp_path, progress)


@pytest.fixture
def hgm_kernel(hgm_prepared: Prepared) -> Kernel:
    """Return the kernel, built if it was not."""
    return hgm_prepared.kernel


@pytest.fixture
def hgm_guest(
    request: pytest.FixtureRequest, hgm_prepared: Prepared, tmp_path: Path
) -> Iterator[Guest]:
    """Return a booted guest that has its huge pages; it ends with the test."""
    from harness.run import parallel, starting

    disk = request.node.get_closest_marker("hgm_disk") is not None
    with (
        parallel.leased(1, hgm_prepared.machine, hgm_prepared.context),
        starting.guest_with_probes(hgm_prepared, tmp_path, disk=disk) as guest,
    ):
        yield guest


@pytest.fixture
def hgm_deadline() -> Deadline:
    """Return a deadline for what one test asks of its guest."""
    from harness.deadline import Deadline

    return Deadline.after(_TEST_SECONDS, "the test")


@pytest.fixture
def hgm_ssh(hgm_guest: Guest) -> Ssh:
    """Return an SSH session as root in the guest."""
    return hgm_guest.ssh


@pytest.fixture
def hgm_qmp(hgm_guest: Guest) -> Qmp:
    """Return the guest's QMP session."""
    return hgm_guest.qmp


@pytest.fixture
def hgm_console(hgm_guest: Guest) -> Console:
    """Return the guest's serial console."""
    return hgm_guest.console
