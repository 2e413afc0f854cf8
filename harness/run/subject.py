# SPDX-License-Identifier: GPL-2.0-only
"""What is under test: which kernel, on which machine."""

from __future__ import annotations

from harness.kernel.obtain import KernelRequest
from harness.records.base import Record
from harness.records.machine import MachineSpec


class Subject(Record, frozen=True, kw_only=True):
    """What is under test.

    Attributes:
        kernel: which kernel.
        machine: what it is booted on.
        accel: ``auto``, ``kvm`` or ``tcg``.
    """

    kernel: KernelRequest
    machine: MachineSpec
    accel: str = "auto"
