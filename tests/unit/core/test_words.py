# SPDX-License-Identifier: GPL-2.0-only
"""A request as the words of a command, and the words as a request again."""

import platform

import msgspec
import pytest

from harness import reproducer
from harness.arch import host_arch
from harness.cli import run
from harness.cli.options import DEFAULT_KERNEL
from harness.records.machine import pages_option
from harness.run.request import RunRequest


def request(words: tuple[str, ...]) -> RunRequest:
    options = run.run.make_context("hgm run", list(words)).params
    for name in ("as_json", "runs_dir", "timeout", "against"):  # which are not part of a request
        del options[name]
    return run._run_request(**options)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--kernel", "tree:/src", "--series", "dir:/patches", "--first", "0", "--fuzz"),
        ("--series", "dir:/patches", "--first", "3", "--with", "9", "--with", "/fix.patch"),
        ("--series", "lore:a@b", "--mail-from", "/mail", "--resolve", "/mended"),
        ("--config", "debug", "--config", "no-hgm", "--cpus", "4", "--nodes", "2"),
        ("--hugepages", "1G:3,2M:10", "--memory", "5G", "--accel", "tcg"),
        ("--hugepages", "1G:2,2M:64", "--cpus", "2", "--nodes", "1", "--hvo"),
        ("--config", "cma", "--hugetlb-cma"),
        ("--probe", "hgm/x", "--probe", "b", "--repeat", "7", "--alone", "--expect", "stock"),
        ("--fresh-guest", "--guests", "2"),
        ("--strict",),
        ("--series", "hgm-6.12"),
        ("--touched", "mbox:/mail", "--probe", "baseline/*"),
        ("--touched", "lore:a@b", "--series", "none", "--mail-from", "/mail"),
        ("--touched", "lore:a@b", "--series", "lore:c@d", "--mail-from", "/mail"),
        ("--touched", "mbox:/mail", "--series", "lore:c@d", "--mail-from", "/mail"),
        ("--kselftest", "mm:cow", "--probe", "baseline/*"),
    ],
)
def test_its_words_ask_for_the_same_run(words: tuple[str, ...]) -> None:
    asked = request(words)
    command, *again = reproducer.words(asked)
    assert command == "run"
    assert request(tuple(again)) == asked


def test_a_build_is_said_without_a_machine() -> None:
    asked = msgspec.structs.replace(
        request(("--config", "debug", "--series", "none")), build_only=True
    )
    assert reproducer.words(asked) == (
        *("kernel", "build", "--kernel", DEFAULT_KERNEL, "--series", "none"),
        *("--arch", host_arch().kernel, "--config", "debug"),
    )


def test_a_shared_guest_is_the_default_and_can_be_chosen_again() -> None:
    assert request(("--shared-guest",)) == request(())
    for own in ("--alone", "--fresh-guest"):
        assert request((own,)) != request((own, "--shared-guest")) == request(())


def test_what_is_as_usual_is_left_out() -> None:
    assert reproducer.words(request(("--series", "none"))) == (
        *("run", "--kernel", DEFAULT_KERNEL),
        *("--series", "none", "--arch", host_arch().kernel, "--expect", "report"),
    )


@pytest.mark.parametrize("host", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", ["x86_64", "arm64"])
def test_the_guest_of_its_words_is_the_same_on_any_host(
    name: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(("--series", "none", "--arch", name))
    monkeypatch.setattr(platform, "machine", lambda: host)
    assert request(reproducer.words(asked)[1:]) == asked


def test_a_guest_of_arm64_has_its_contiguous_pages_as_usual() -> None:
    asked = request(("--arch", "arm64"))
    assert pages_option(asked.subject.machine.hugepages) == "1G:2,32M:8,2M:64,64K:64"
    assert "--hugepages" not in reproducer.words(asked)
    less = request(("--arch", "arm64", "--hugepages", "1G:2,2M:64"))
    assert "1G:2,2M:64" in reproducer.words(less)
