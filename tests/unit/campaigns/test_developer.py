# SPDX-License-Identifier: GPL-2.0-only
"""What a benchmark hands on to the command it measures."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from harness.campaigns.developer import kernel_words, machine_words
from harness.commands.options import kernel_options, machine_options, subject_of
from harness.session import Subject


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
        ("--hugepages", "1G:3,2M:10", "--memory", "5G"),
    ],
)
def test_its_words_name_the_same_kernel_and_machine(words: tuple[str, ...]) -> None:
    asked = subject(words)
    again = subject((*kernel_words(asked.kernel), *machine_words(asked.machine)))
    assert again == asked
