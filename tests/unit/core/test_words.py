# SPDX-License-Identifier: GPL-2.0-only
"""A subject as options, and the options as a subject again."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from harness.cli.options import DEFAULT_KERNEL, kernel_options, machine_options, subject_of
from harness.reproducer import subject_words
from harness.run.subject import Subject


def subject(words: tuple[str, ...]) -> Subject:
    found: list[Subject] = []

    @click.command()
    @kernel_options
    @machine_options
    def command(**options: Any) -> None:
        found.append(subject_of(**options))

    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found[0]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--kernel", "tree:/src", "--series", "dir:/patches", "--first", "0", "--fuzz"),
        ("--series", "lore:a@b", "--mail-from", "/mail", "--resolve", "/mended"),
        ("--config", "debug", "--config", "no-hgm", "--cpus", "4", "--nodes", "2"),
        ("--hugepages", "1G:3,2M:10", "--memory", "5G", "--accel", "tcg"),
        ("--hugepages", "1G:2,2M:64", "--cpus", "2", "--nodes", "1"),
    ],
)
def test_its_words_name_the_same_kernel_and_machine(words: tuple[str, ...]) -> None:
    asked = subject(words)
    again = subject(subject_words(asked))
    assert again == asked


def test_what_is_as_usual_is_left_out() -> None:
    assert subject_words(subject(("--series", "none"))) == (
        *("--kernel", DEFAULT_KERNEL),
        *("--series", "none"),
    )
