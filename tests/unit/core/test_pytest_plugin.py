# SPDX-License-Identifier: GPL-2.0-only
"""What the markers of the pytest plugin ask for."""

import platform

import pytest

from harness.arch import arch
from harness.records.machine import pages_option
from harness.run.subject import Subject


@pytest.fixture
def arm64_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")


@pytest.mark.usefixtures("arm64_host")
@pytest.mark.hgm_machine(cpus=4)
def test_without_an_architecture_a_guest_has_the_hosts(hgm_subject: Subject) -> None:
    assert hgm_subject.kernel.arch == hgm_subject.machine.arch == "aarch64"
    assert pages_option(hgm_subject.machine.hugepages) == arch("aarch64").hugepages
    assert hgm_subject.machine.cpus == 4


@pytest.mark.usefixtures("arm64_host")
@pytest.mark.hgm_kernel("tree:/none", arch="x86_64")
def test_kernel_and_machine_have_the_architecture_of_the_marker(hgm_subject: Subject) -> None:
    assert hgm_subject.kernel.arch == hgm_subject.machine.arch == "x86_64"
    assert pages_option(hgm_subject.machine.hugepages) == arch("x86_64").hugepages


@pytest.mark.hgm_kernel("tree:/none", arch="arm64")
@pytest.mark.hgm_machine(hugepages="32M:1", memory="2G")
def test_the_pages_of_a_marker_are_those_of_its_architecture(hgm_subject: Subject) -> None:
    assert pages_option(hgm_subject.machine.hugepages) == "32M:1"
