# SPDX-License-Identifier: GPL-2.0-only
"""What of the guest's ``hgm_probe.py`` needs no huge page."""

import ctypes
import errno
import importlib.util
import mmap
import os
import time
from types import ModuleType

import pytest

from harness.probes import catalog


@pytest.fixture(scope="module")
def hgm() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "hgm_probe", catalog.PROBES / "python" / "hgm_probe.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "number"),
    # As the kernel's own macros in include/uapi/linux/userfaultfd.h expand.
    [
        ("USERFAULTFD_IOC_NEW", 0xAA00),
        ("UFFDIO_API", 0xC018AA3F),
        ("UFFDIO_REGISTER", 0xC020AA00),
        ("UFFDIO_CONTINUE", 0xC020AA07),
    ],
)
def test_request_numbers(hgm: ModuleType, name: str, number: int) -> None:
    assert getattr(hgm, name) == number


def test_a_userfaultfd_comes_from_its_device_or_the_test_is_skipped(
    hgm: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hgm.os, "uname", None)
    if os.access(hgm.UFFD_DEVICE, os.R_OK | os.W_OK):
        os.close(hgm.uffd_open(0))
    monkeypatch.setattr(hgm, "UFFD_DEVICE", "/dev/nothing")
    with pytest.raises(hgm.Skip, match="/dev/nothing: ENOENT"):
        hgm.uffd_open(0)


def test_a_message_has_the_kernels_layout(hgm: ModuleType) -> None:
    assert ctypes.sizeof(hgm.UffdMsg) == 32
    assert hgm.UffdMsg.flags.offset == 8
    assert hgm.UffdMsg.address.offset == 16


@pytest.mark.parametrize(
    ("verdict", "reason", "line"),
    [
        (0, "", "ok 3 a name"),
        (1, "", "not ok 3 a name"),
        (4, "MADV_SPLIT: EINVAL", "ok 3 a name # SKIP MADV_SPLIT: EINVAL"),
    ],
)
def test_result_line(hgm: ModuleType, verdict: int, reason: str, line: str) -> None:
    assert hgm.result_line(3, "a name", verdict, reason) == line


@pytest.mark.parametrize(
    ("verdicts", "code"), [([0, 0], 0), ([0, 4], 0), ([4, 4], 4), ([4, 1, 0], 1)]
)
def test_exit_code(hgm: ModuleType, verdicts: list[int], code: int) -> None:
    assert hgm.exit_code(verdicts) == code


def test_error_names(hgm: ModuleType) -> None:
    assert hgm.error_name(errno.EINVAL) == "EINVAL"
    assert hgm.error_name(0) == "success"


@pytest.mark.parametrize(
    "argv",
    [
        ["p", "--size"],
        ["p", "--size", "3M"],
        ["p", "--size", "G"],
        ["p", "1G"],
        ["p", "-t"],
        ["p", "--timeout-scale", "0.5"],
        ["p", "--timeout-scale", "nan"],
        ["p", "--timeout-scale", "x"],
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    hgm: ModuleType, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        hgm.Options(argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_options(hgm: ModuleType) -> None:
    options = hgm.Options(["p", "--size", "1G", "-t", "a*", "-t", "b", "--yes-harm-this-machine"])
    assert options.size == 2**30
    assert [name for name in ("abc", "b", "bc") if options.selects(name)] == ["abc", "b"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (4096, "4 KiB"),
        (2**30 + 3 * 4096, "1 GiB + 12 KiB"),
        (-8193, "-(8 KiB + 1 bytes)"),
    ],
)
def test_size_text(hgm: ModuleType, size: int, text: str) -> None:
    assert hgm.size_text(size) == text


def test_the_result_of_a_continue_is_said_by_errno_and_bytes(hgm: ModuleType) -> None:
    assert hgm._result(0, 8192, 8192) == "success"
    assert hgm._result(errno.EEXIST, -errno.EEXIST, 8192) == "EEXIST"
    assert hgm._result(errno.EAGAIN, 4096, 8192) == "EAGAIN after 4 KiB"


def test_stamps_tell_pages_and_fillings_apart(hgm: ModuleType) -> None:
    stamps = {hgm.stamp(page, seed) for page in (0, 1, 511, 262143) for seed in (1, 2)}
    assert len(stamps) == 8
    assert list(hgm.stamps(5, 3, 1)) == [hgm.stamp(page, 1) for page in (5, 6, 7)]
    assert hgm.describe(hgm.stamp(17, 2)) == "page 17 of filling 2"
    assert hgm.describe(0) == "0x0"


def test_contents_of_another_page_are_recognised(hgm: ModuleType) -> None:
    with mmap.mmap(-1, 8 * hgm.BASE_PAGE) as memory:
        hgm.fill_pages(memory, 0, 8, 1)
        hgm.check_pages(memory, 0, 8, 1)
        page = slice(3 * hgm.BASE_PAGE, 4 * hgm.BASE_PAGE)
        memory[page] = memory[4 * hgm.BASE_PAGE : 5 * hgm.BASE_PAGE]
        hgm.check_pages(memory, 4, 4, 1)
        with pytest.raises(
            hgm.Fail, match="page 3 shows page 4 of filling 1, expected page 3 of filling 1"
        ):
            hgm.check_pages(memory, 0, 8, 1)


def test_the_end_of_a_page_is_checked_too(hgm: ModuleType) -> None:
    with mmap.mmap(-1, 2 * hgm.BASE_PAGE) as memory:
        hgm.fill_pages(memory, 0, 2, 1)
        memory[hgm.BASE_PAGE - 8 : hgm.BASE_PAGE] = bytes(8)
        with pytest.raises(hgm.Fail, match="page 0 shows 0x0"):
            hgm.check_pages(memory, 0, 2, 1)


def test_a_test_that_is_late_fails_and_is_waited_for(
    hgm: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here kill() does nothing, and the child ends by itself, well: it is late all the same."""
    monkeypatch.setattr(hgm, "TEST_SECONDS", 0.05)
    monkeypatch.setattr(hgm, "EVENT_SECONDS", 0.05)
    monkeypatch.setattr(hgm, "_timeout_scale", 2.0)
    monkeypatch.setattr(hgm.os, "kill", lambda pid, number: None)
    child = os.fork()
    if child == 0:
        time.sleep(1.0)
        os._exit(0)
    assert hgm._await(child) == hgm.FAILED
    said = capsys.readouterr().out
    assert "# killed after 0.1 s" in said
    assert f"# process {child} did not die of SIGKILL within 0.1 s; waiting for it" in said
