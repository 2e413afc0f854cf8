# SPDX-License-Identifier: GPL-2.0-only
"""The record as a shell script that repeats the run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from harness.kernel import specs
from harness.records.run import RunRecord
from harness.report.text import head


def render(record: RunRecord) -> str:
    """Return the script: the command, and the kernel and QEMU of the run as comments."""
    return "\n".join([*_lines(record), ""])


def _lines(record: RunRecord) -> Iterator[str]:
    yield "#!/bin/sh"
    yield "# SPDX-License-Identifier: GPL-2.0-only"
    yield f"# Repeats a run of hgm {record.harness} of {record.started}.".replace("  ", " ")
    for name, value in head(record):
        yield _comment(f"{name:<8} {value}")
    if record.kernel is not None:
        yield _comment(f"source   {record.kernel.source.tree or record.kernel.source.origin}")
        for patch in record.kernel.series.patches:
            how = "" if patch.how == "exact" else f", {patch.how}"
            yield _comment(f"patch    {patch.digest} {patch.resolved or patch.name}{how}")
    if record.qemu:
        yield _comment(f"qemu     {record.qemu_version}")
        yield _comment(shlex.join(record.qemu))
    yield "exec " + shlex.join(record.command) + ' "$@"'


def short_command(record: RunRecord, probe: str = "") -> str:
    """Return a run's command without its working directory and its --runs-dir.

    Args:
        record: the run.
        probe: the only probe to run; empty for those of the run.
    """
    words = list(record.command)
    if words[:2] == ["env", "-C"]:
        words = words[3:]
    if "--runs-dir" in words:
        at = words.index("--runs-dir")
        del words[at : at + 2]
    if probe and "--kselftest" not in words:
        while "--probe" in words:
            at = words.index("--probe")
            del words[at : at + 2]
        words += ["--probe", probe]
    return shlex.join(["./hgm", *words[1:]])


def command_for_others(record: RunRecord, probe: str = "") -> str:
    """Return `short_command` as it works elsewhere: without directories of this machine."""
    words = shlex.split(short_command(record, probe))
    return shlex.join([words[0], *map(specs.for_others, words[1:])])


def _comment(text: str) -> str:
    """Return a text as one comment: a line break in it must not start a command."""
    return "# " + " ".join(text.split("\n")).replace("\r", " ").rstrip()
