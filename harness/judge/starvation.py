# SPDX-License-Identifier: GPL-2.0-only
"""Whether a guest had the CPU time to make progress: a hang is told from a busy host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.judge import dmesg
from harness.records.probe import HostLoad, Splat

#: Below this share of the CPU time that the vCPUs wanted, running out of time says nothing about
#: the kernel. The catalogue's budgets are ten times what a probe was measured to take: at a tenth
#: of the CPU a sound kernel can miss them.
STARVED = 0.1

#: Below this share a reason mentions the host.
SHORT = 0.5

#: So much faster than the host's a guest's clock does not run unless it was set wrongly.
_FAST = 1.2

#: vCPUs that wanted less of the wall time than this were idle: how little they got says nothing.
_IDLE = 0.02


def share(host: HostLoad) -> float | None:
    """Return what the vCPUs got of the CPU time that they wanted, 0 to 1; None if they were idle.

    A thread wants a CPU while it runs or waits for one. Of the time in which it runs, the host's
    own hypervisor may give a part to others.
    """
    ran = sum(vcpu.ran for vcpu in host.vcpus)
    wanted = ran + sum(vcpu.waited for vcpu in host.vcpus)
    if not wanted or wanted < _IDLE * host.seconds:
        return None
    return ran / wanted * (1 - host.steal)


def starved(host: HostLoad | None) -> bool:
    """Return whether a guest had too little CPU time for a hang to be the kernel's."""
    got = share(host) if host is not None else None
    return got is not None and got < STARVED


def clock_was_fast(stamps: Sequence[float], host: HostLoad | None) -> bool:
    """Return whether a guest's clock went ahead of the host's.

    A kernel measures the speed of its clock against a timer while it boots. Where the host gave it
    no CPU then, the result is wrong, and all its timeouts are too short by that factor.

    Args:
        stamps: of what the guest wrote while ``host`` was measured, seconds of its clock.
        host: has that time by the host's clock.
    """
    if host is None or not stamps:
        return False
    return max(stamps) - min(stamps) > _FAST * host.seconds + 1


def stuck(splats: Iterable[Splat]) -> tuple[Splat, ...]:
    """Return the splats that report a lack of progress."""
    return tuple(splat for splat in splats if splat.kind in dmesg.STUCK)


def excuse(host: HostLoad | None, stamps: Sequence[float], timeout_scale: float = 1.0) -> str:
    """Return why a reported lack of progress says nothing about the kernel; empty if it does.

    A lack of progress is reported after half a minute or more, so that in a short probe most of
    it was before: what the guest's speed was then counts as well.

    Args:
        host: what the guest got meanwhile.
        stamps: of what it wrote meanwhile.
        timeout_scale: how much slower than the reference it was before its first probe.
    """
    if clock_was_fast(stamps, host):
        return "the guest's clock went ahead of the host's"
    if starved(host) or timeout_scale * STARVED >= 1:
        return remark(host) or f"the guest is {timeout_scale:g} times slower than the reference"
    return ""


def remark(host: HostLoad | None) -> str:
    """Return what a reason says about a host that gave the vCPUs little; empty otherwise."""
    got = share(host) if host is not None else None
    if host is None or got is None or got >= SHORT:
        return ""
    facts = [f"load {host.load:g}"]
    if host.pressure is not None:
        facts.append(f"CPU pressure {host.pressure:g} %")
    if host.steal >= 0.01:
        facts.append(f"steal {100 * host.steal:.0f} %")
    return (
        f"the vCPUs got {100 * got:.0f} % of the CPU time that they wanted: the host is busy "
        f"({', '.join(facts)})"
    )
