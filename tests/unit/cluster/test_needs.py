# SPDX-License-Identifier: GPL-2.0-only
"""Which worker can hold which run."""

import msgspec
import pytest

from harness.cluster import needs
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage, HugePages, MachineSpec
from harness.records.run import GuestsRequest, Ingredients

WANTED = GuestsRequest(
    made_of=Ingredients(
        kernel=Kernel(
            key="k",
            release="6.12",
            image="/k/bzImage",
            source=SourceIdentity(spec="tree:/", kind="tree", origin=""),
            series=SeriesIdentity(spec="none"),
            configuration=ConfigIdentity(),
        ),
        image=GuestImage(key="i", initramfs="", disk="", manifest=""),
        machine=MachineSpec(hugepages=(HugePages(size=1 << 30, count=2),), memory=4 << 30),
        accel=AccelChoice(name="tcg", reason="", cpu=""),
        specs=(),
        programs={},
        digests={},
    )
)
HAS = {
    "hgm-cpus": 2.0,
    "hgm-memory": 3.0 * 2**30,
    "hgm-disk": 1e10,
    "hgm-arch-x86_64": 1e6,
}


def lacking(has: dict[str, float], **wanted: object) -> str:
    request = msgspec.structs.replace(WANTED, **wanted)
    return needs.lacking(needs.of_task(request), {"a": {"resources": has}})


def test_a_guest_needs_its_cpus_and_what_it_may_touch() -> None:
    assert needs.of_task(WANTED)["hgm-memory"] == (2 << 30) + (512 << 20)
    assert lacking(HAS) == ""


@pytest.mark.parametrize(
    ("has", "wanted", "said"),
    [
        ({"hgm-cpus": 1.0}, {}, "cpus 2"),
        ({"hgm-memory": 2.0 * 2**30}, {}, "memory"),
        ({"hgm-arch-x86_64": 0.0}, {}, "arch-x86_64 1"),
        ({}, {"guests": 2}, "cpus 4, memory"),
        ({}, {"accel": "kvm"}, "kvm 1"),
    ],
)
def test_what_a_worker_has_too_little_of_is_said(
    has: dict[str, float], wanted: dict[str, object], said: str
) -> None:
    assert lacking(HAS | has, **wanted).startswith(said)


def test_one_worker_must_have_all_of_it() -> None:
    workers = {
        "few-cores": {"resources": HAS | {"hgm-cpus": 1.0}},
        "no-memory": {"resources": HAS | {"hgm-memory": 1.0}},
    }
    assert needs.lacking(needs.of_task(WANTED), workers)
    assert not needs.lacking(needs.of_task(WANTED), {**workers, "both": {"resources": HAS}})


def test_a_cluster_without_workers_may_get_some() -> None:
    assert needs.lacking(needs.of_task(WANTED), {}) == ""
