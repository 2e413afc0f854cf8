# SPDX-License-Identifier: GPL-2.0-only
"""The accelerator on this very host, proven with real kernels, from an empty cache."""

import contextlib
import time
from pathlib import Path

from harness.arch import arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import AcceleratorError
from harness.progress import Silent
from harness.vm import accel
from harness.workspace import Workspace

X86 = arch("x86_64")


def test_without_a_built_kernel_debians_proves_kvm(tmp_path: Path) -> None:
    deadline = Deadline.after(60, "the fetch")
    kernels = list(accel.proof_kernels(None, X86, Context(Workspace(tmp_path), deadline, Silent())))
    assert kernels
    assert kernels[-1].parent == tmp_path / "accel"
    assert accel.prove(kernels[-1], X86, deadline, Silent()) is not None


def test_what_this_host_can_is_proven_once_and_remembered(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    context = Context(workspace, Deadline.after(60, "the proof"), Silent())

    def ask() -> None:
        kernels = accel.proof_kernels(None, X86, context)
        with contextlib.suppress(AcceleratorError):  # a dead KVM is as good an answer here
            accel.refuse_broken_kvm(kernels, context, arch_name=X86.name)

    ask()
    known = accel.remembered(workspace, X86.name)
    assert known is not None or accel.unusable(X86) is not None
    began = time.monotonic()
    ask()
    assert accel.remembered(workspace, X86.name) == known
    assert time.monotonic() - began < accel.PROOF_SECONDS, "no guest was started again"
