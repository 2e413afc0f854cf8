# SPDX-License-Identifier: GPL-2.0-only
"""`hgm run`, and `hgm judge` for what it left."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import host
from harness.cli.options import (
    kernel_options,
    machine_options,
    new_context,
    new_display,
    probe_option,
    runs_option,
    subject_of,
    timeout_option,
)

if TYPE_CHECKING:
    from harness.pipeline import RunRequest


@click.command()
@kernel_options
@machine_options
@timeout_option
@probe_option
@click.option(
    "--kselftest",
    "kselftests",
    multiple=True,
    metavar="mm[:GLOB]",
    help="Run the tests of tools/testing/selftests in the kernel's own tree, and probes only where "
    "--probe asks for them; repeatable.",
)
@click.option(
    "--expect",
    type=click.Choice(["report", "hgm", "stock"]),
    help="hgm: a kernel without it fails; stock: a kernel with it fails; report: neither. "
    "By default hgm with a series of our own that gives it, else report.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Run each probe so often; the repetitions are named NAME#2 and so on.",
)
@click.option(
    "--alone", is_flag=True, help="Give each probe, and each repetition, a guest of its own."
)
@click.option(
    "--against",
    metavar="SPEC",
    help="First do the same with this series (none: the source alone), then say what changed; "
    "the exit code is that of `hgm compare`.",
)
@runs_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print result.json on standard output; with --against, the comparison.",
)
def run(as_json: bool, runs_dir: Path, timeout: float, against: str | None, **options: Any) -> int:
    """Build, boot and probe a kernel, and say in one table what it does."""
    from harness import pipeline
    from harness.report import json, text

    if against is not None:
        return _run_against(against, as_json, runs_dir, timeout, **options)
    request = _run_request(sys.argv[1:], **options)
    with new_display() as display:
        record = pipeline.run(request, runs_dir, new_context(timeout, display))
    text.write(record, sys.stderr if as_json else sys.stdout)
    if as_json:
        json.write(record, sys.stdout)
    return record.exit_code


def _run_against(
    against: str, as_json: bool, runs_dir: Path, timeout: float, **options: Any
) -> int:
    """Run base and patched kernel one after the other, and compare them."""
    from harness import pipeline
    from harness.campaign import state
    from harness.cli.compare import show
    from harness.records.base import to_json
    from harness.workspace import atomic_write

    words = without(sys.argv[1:], ("--against",))
    # What belongs to the series does not belong to what it is compared with.
    own = {"series": against, "resolve": "", "mail_from": "", "first": None, "expect": "report"}
    base_words = without(words, tuple(f"--{name.replace('_', '-')}" for name in own))
    base_words += ["--series", against, "--expect", "report"]
    requests = [
        _run_request(base_words, **{**options, **own}),
        _run_request(words, **options),
    ]
    records = []
    with new_display() as display:
        context = new_context(timeout, display)
        for request in requests:
            record = pipeline.run(request, runs_dir, context)
            if not state.counts(record):
                display.note(f"{record.run_dir}: {record.reason}")
                return record.exit_code
            records.append(record)
    found = show(*records, as_json=as_json)
    atomic_write(Path(records[1].run_dir) / "compare.json", to_json(found))
    return found.exit_code


def without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return a command's words without some of its options and their values."""
    kept: list[str] = []
    todo = list(words)
    while todo:
        word = todo.pop(0)
        if word in options:
            del todo[:1]
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


def _run_request(
    words: Sequence[str],
    *,
    probes: tuple[str, ...],
    kselftests: tuple[str, ...],
    expect: Any,
    repeat: int,
    alone: bool,
    **options: Any,
) -> RunRequest:
    from harness.kernel import registry
    from harness.pipeline import RunRequest

    subject = subject_of(spare=_spare_memory(kselftests), **options)
    return RunRequest(
        subject=subject,
        expect=expect or registry.expectation(subject.kernel.series),
        probes=probes,
        kselftests=kselftests,
        repeat=repeat,
        alone=alone,
        command=host.command_line(words),
    )


def _spare_memory(kselftests: tuple[str, ...]) -> int:
    """Return the bytes that the kernel's own tests need beyond what the guest reserves."""
    if not kselftests:
        return 0
    from harness.probes import kselftest
    from harness.vm import spec

    table = kselftest.load()
    wanted = kselftest.parse(kselftests, table)
    return max(spec.parse_size(table[name].memory, "kselftest.toml") for name in wanted)


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the judged record as JSON.")
def judge(run_dir: Path, as_json: bool) -> int:
    """Judge the evidence of RUN, a run directory, again; nothing in it is changed."""
    from harness.report import json, text
    from harness.store import rundir

    record = rundir.judged_again(run_dir)
    text.write(record, sys.stderr if as_json else sys.stdout)
    if as_json:
        json.write(record, sys.stdout)
    return record.exit_code
