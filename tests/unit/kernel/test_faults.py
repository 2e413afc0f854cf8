# SPDX-License-Identifier: GPL-2.0-only
"""The seeded faults that are in this repository."""

import re
from pathlib import Path

import pytest

from harness.kernel import faults, registry, specs
from harness.kernel.faults import Fault
from harness.probes import catalog, promises

#: What our own faults break, what stock 6.12 turned out to do, and the kinds of real bugs.
CLASSES = {
    "wrong subpage mapped",
    "address rounded wrongly",
    "missing TLB flush",
    "refcount or mapcount leaked or dropped",
    "reservation leaked",
    "lock left held or taken in the wrong order",
    "write-protect lost on collapse, continue, fork or mprotect",
    "stale entries after hole punch or truncate",
    "page tables leaked",
    "wakeups lost",
    "wrong errno",
    "wrong mapped count",
    "wrong smaps or pagemap",
    "use after free",
    "sleeping under a spinlock",
    "infinite loop",
    "page lost on fork",
    "poisoned memory given out",
    "huge-page accounting",
    "half-done after a failed allocation",
    "kernel warning",
    "race",
    "stale write-protect marks",
    "userfaultfd event lost",
    "wrong contents",
    "wrong range",
    "wrong result of an ioctl",
}

FAULTS = faults.load()


def _named(fault: Fault) -> str:
    return fault.name


def test_every_class_has_faults() -> None:
    assert len(FAULTS) >= 24
    assert {fault.kind for fault in FAULTS} == CLASSES


def test_every_patch_is_listed() -> None:
    assert {path.stem for path in faults.DIRECTORY.glob("*.patch")} == {f.name for f in FAULTS}


@pytest.mark.parametrize("fault", FAULTS, ids=_named)
def test_base_of_a_fault_exists(fault: Fault) -> None:
    assert specs.parse_series(f"fault:{fault.name}").kind == "fault"
    assert fault.on == "none" or registry.find(fault.on)
    assert not fault.kernel or specs.parse_source(fault.kernel).kind == "debian"
    features = {path.stem for path in Path("kernel-configs").glob("*.config")}
    assert set(fault.config) <= features


@pytest.mark.parametrize("fault", FAULTS, ids=_named)
def test_probes_that_should_catch_a_fault_exist(fault: Fault) -> None:
    for glob in fault.probes:
        assert catalog.select(catalog.load(), (glob,))


def test_probe_is_named_by_a_fault_or_has_guards() -> None:
    specs = catalog.load()
    globs = [glob for fault in FAULTS for glob in fault.probes]
    covered = {catalog.family(spec.name) for spec in catalog.select(specs, globs)}
    guards = {catalog.family(spec.name) for spec in specs if spec.guards}
    assert covered | guards == {catalog.family(spec.name) for spec in specs}
    assert not covered & guards


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.on == "none"], ids=_named)
def test_fault_without_hgm_is_for_baseline_probes(fault: Fault) -> None:
    assert all(glob.startswith("baseline/") for glob in fault.probes)


@pytest.mark.parametrize("fault", FAULTS, ids=_named)
def test_promises_that_a_fault_rests_on_exist(fault: Fault) -> None:
    assert set(fault.rests_on) <= {promise.name for promise in promises.load()}


@pytest.mark.parametrize("fault", FAULTS, ids=_named)
def test_patch_of_a_fault_says_so_and_is_signed_off(fault: Fault) -> None:
    text = Path(fault.patch).read_text()
    assert re.search(r"^Subject: \[PATCH\] FAULT: \S", text, re.MULTILINE)
    assert re.search(r"^Signed-off-by: HGM Harness <", text, re.MULTILINE)
