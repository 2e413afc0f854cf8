# SPDX-License-Identifier: GPL-2.0-only
"""A checkpoint at which nothing was seen: the probe's fault only if QEMU answers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import DeadlineExpired, GuestLost, QemuError
from harness.run.checkpoint import Watcher
from harness.vm import spec


def watcher(answer: Exception | None, tmp_path: Path) -> Watcher:
    """Return a watcher of a guest whose QEMU answers, or raises."""

    def execute(command: str, **_: Any) -> None:
        if answer is not None:
            raise answer

    guest = SimpleNamespace(qmp=SimpleNamespace(execute=execute))
    return Watcher(cast(Any, guest), spec.machine((), arch_name="x86_64"), tmp_path)


def test_a_qemu_that_answers_leaves_the_verdict_to_the_judge(tmp_path: Path) -> None:
    watcher(None, tmp_path)._require_monitor()


@pytest.mark.parametrize("error", [DeadlineExpired("no answer"), QemuError("QEMU went away")])
def test_a_qemu_that_does_not_answer_is_no_fault_of_the_probe(
    error: Exception, tmp_path: Path
) -> None:
    with pytest.raises(GuestLost, match="at a checkpoint: "):
        watcher(error, tmp_path)._require_monitor()
