# SPDX-License-Identifier: GPL-2.0-only
"""The library of the Python probes: KTAP output, huge-page mappings, and userfaultfd by ctypes.

The same names as in ``c/hgm_probe.h`` for the same things, and nothing in common with it: struct
layouts, request numbers and the readers of /proc are written out here, from the kernel's
documentation. A probe is a table of tests, and each test runs in a child process of its own:
whatever it maps or registers is gone when it ends, and one that waits too long is killed. A test
passes by returning; `fail`, `skip` and any exception end it early.

A fault holds the thread that made it, and a thread of Python holds the interpreter's lock with it.
So an access that may fault goes through `Touch`, whose foreign call lets go of the lock; all other
accesses are to what is mapped already.

Only the standard library, Python 3.10 or later. Sizes are bytes. Under emulation an import of
typing or argparse takes a second, so that only small modules are used.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import mmap
import os
import select
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

#: Page tables of 4 KiB pages with 512 entries each, as in ``c/hgm_probe.h``.
BASE_PAGE = 4096
PMD_PAGE = BASE_PAGE * 512
PUD_PAGE = PMD_PAGE * 512

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
POOLS = "/sys/kernel/mm/hugepages"

#: Seconds that one event, and a whole test, may take; `scaled` to the machine.
EVENT_SECONDS = 5.0
TEST_SECONDS = 50.0
MAX_TIMEOUT_SCALE = 30

SIGKILL = 9
MADV_COLLAPSE = 25
MADV_SPLIT = 26
MFD_HUGETLB = 0x4
MFD_HUGE_SHIFT = 26
MAP_NORESERVE = 0x4000

#: kselftest's exit codes, which are a test's verdict too.
PASSED, FAILED, SKIPPED = 0, 1, 4

libc = ctypes.CDLL(None, use_errno=True)


# ---- tests and their results ------------------------------------------------------------------


class Test:
    """A name for the report, and a function that returns if the kernel is right."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.name = name
        self.run = run


class Skip(Exception):
    """The kernel lacks what the test is about; the message is the kernel's answer."""


class Fail(Exception):
    """The kernel did something wrong."""


def fail(text: str) -> NoReturn:
    raise Fail(text)


def skip(text: str) -> NoReturn:
    raise Skip(text)


def assert_that(condition: bool, text: str) -> None:
    """Fail the test unless the condition holds."""
    if not condition:
        fail(text)


def error_name(error: int) -> str:
    """Return ``EINVAL`` for 22, ``success`` for 0."""
    return errno.errorcode.get(error, str(error)) if error else "success"


def size_text(size: int) -> str:
    """Return ``1 GiB + 12 KiB`` and the like."""
    parts, left = [], abs(size)
    for unit in "GMK":
        count, left = divmod(left, UNITS[unit])
        parts += [f"{count} {unit}iB"] if count else []
    parts += [f"{left} bytes"] if left or not parts else []
    return f"-({' + '.join(parts)})" if size < 0 else " + ".join(parts)


def result_line(number: int, name: str, verdict: int, reason: str = "") -> str:
    """Return KTAP's line for one test."""
    word = "not ok" if verdict == FAILED else "ok"
    return f"{word} {number} {name}" + (f" # SKIP {reason}" if verdict == SKIPPED else "")


def exit_code(verdicts: Sequence[int]) -> int:
    """Return 1 if a test failed, else 0 if one passed, else 4."""
    if FAILED in verdicts:
        return FAILED
    return PASSED if PASSED in verdicts else SKIPPED


class Options:
    """The options of the command line; a wrong one ends the program with exit code 2."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.size = 0
        self.checkpoints = ""
        self.timeout_scale = 1.0
        self.globs: list[str] = []
        self.help = self.list = False
        words = iter(argv[1:])
        for word in words:
            if word in ("-h", "--help"):
                self.help = True
            elif word == "-l":
                self.list = True
            elif word in ("-t", "--size", "--checkpoints", "--timeout-scale"):
                self._take(word, next(words, None))
            elif word != "--yes-harm-this-machine":  # what is here does not
                usage_error(f"unknown option {word}")

    def _take(self, name: str, value: str | None) -> None:
        if value is None:
            usage_error(f"{name} wants a value")
        if name == "-t":
            self.globs.append(value)
        elif name == "--checkpoints":
            self.checkpoints = value
        elif name == "--timeout-scale":
            self.timeout_scale = parse_scale(value)
        else:
            self.size = parse_size(value)

    def selects(self, name: str) -> bool:
        """Return whether a test is to run."""
        if not self.globs:
            return True
        import fnmatch  # takes long under emulation

        return any(fnmatch.fnmatchcase(name, glob) for glob in self.globs)


def usage_error(text: str) -> NoReturn:
    print(f"{sys.argv[0]}: {text}; -h lists the options", file=sys.stderr)
    sys.exit(2)


def parse_size(text: str) -> int:
    """Return the bytes of ``2M``; whether the kernel has such pages is for the tests to say."""
    number, unit = text[:-1], text[-1:]
    size = int(number) * UNITS[unit] if number.isdecimal() and unit in UNITS else 0
    if size < BASE_PAGE or size & (size - 1):
        usage_error(f"--size {text} is not the size of a huge page, such as 2M or 1G")
    return size


def parse_scale(text: str) -> float:
    """Return the number of ``--timeout-scale``."""
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 1 <= scale <= MAX_TIMEOUT_SCALE:
        usage_error(f"--timeout-scale {text} is not a number from 1 to {MAX_TIMEOUT_SCALE}")
    return scale


def scaled(seconds: float) -> float:
    """Return a limit in seconds on this machine: times ``--timeout-scale``."""
    return seconds * _timeout_scale


def offered_sizes() -> list[int]:
    """Return the sizes of huge pages that this kernel has, the largest first."""
    try:
        names = os.listdir(POOLS)  # noqa: PTH208 - pathlib takes long under emulation
    except OSError:
        return []
    return sorted((int(name[10:-2]) * 1024 for name in names), reverse=True)


def default_size() -> int:
    """Return the size of huge page that the kernel takes by default."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith(b"Hugepagesize:"):
            return int(line.split()[1]) * 1024
    return PMD_PAGE


def free_pages(size: int) -> int:
    """Return how many huge pages of a size are free and not reserved."""
    pool = f"{POOLS}/hugepages-{size // 1024}kB"
    free, reserved = (int(_read(f"{pool}/{each}_hugepages")) for each in ("free", "resv"))
    return free - reserved


def best_size(pages: int) -> int:
    """Return the kernel's default size, unless another alone has enough free pages."""
    usual, offered = default_size(), offered_sizes()
    if usual in offered and free_pages(usual) >= pages:
        return usual
    return next((size for size in offered if free_pages(size) >= pages), usual)


def huge_size() -> int:
    """Return the huge page's size that ``--size`` chose."""
    return _size


def huge_pages() -> int:
    """Return how many base pages a huge page has."""
    return _size // BASE_PAGE


def probe_main(
    tests: Sequence[Test],
    *,
    pages: int = 0,
    needs_hgm: bool = False,
    setup: Callable[[], object] | None = None,
) -> int:
    """Run the tests and return the exit code.

    Args:
        tests: in the order of their report.
        pages: free huge pages that they need at once.
        needs_hgm: skip them all, with the kernel's errno, where MADV_SPLIT is not known.
        setup: runs once, in the process that the tests are forked from.
    """
    global _size, _listening, _test, _timeout_scale
    options = Options(sys.argv)
    chosen = [test for test in tests if options.selects(test.name)]
    if not chosen:
        usage_error(f"-t {options.globs} matches no test (-l lists them)")
    if options.help or options.list:
        usage = f"usage: {sys.argv[0]} [-h] [-l] [-t GLOB]... [--size SIZE] [--checkpoints host]"
        usage += " [--timeout-scale FACTOR]"
        print("\n".join([usage, ""] * options.help + [test.name for test in chosen]))
        return PASSED
    _size = options.size or best_size(pages)
    _listening = options.checkpoints == "host"
    _timeout_scale = options.timeout_scale
    print(f"KTAP version 1\n1..{len(chosen)}", flush=True)
    verdict, reason = _verdict(lambda: _prepare(pages, needs_hgm, setup))
    verdicts = []
    for number, test in enumerate(chosen, 1):
        _test = test.name
        outcome = _run_in_child(test.run) if verdict == PASSED else (verdict, reason)
        print(result_line(number, test.name, *outcome), flush=True)
        verdicts.append(outcome[0])
    return exit_code(verdicts)


_size = 0
_listening = False  # whether a host answers checkpoints
_test = ""  # the test that is running
_timeout_scale = 1.0


def _prepare(pages: int, needs_hgm: bool, setup: Callable[[], object] | None) -> None:
    if mmap.PAGESIZE != BASE_PAGE:
        skip(f"the base page is {size_text(mmap.PAGESIZE)}, the tests need 4 KiB")
    if huge_size() not in offered_sizes():
        skip(f"{POOLS}/hugepages-{huge_size() // 1024}kB: ENOENT")
    error = hgm_error() if needs_hgm else 0
    if error:
        skip(f"MADV_SPLIT: {error_name(error)}")
    free = free_pages(huge_size())
    if free < pages:
        size = size_text(huge_size())
        skip(f"needs {pages} free huge page{'s' * (pages > 1)} of {size}, the pool has {free}")
    if setup:
        setup()


def _verdict(run: Callable[[], None]) -> tuple[int, str]:
    """Run to an end or an exception; print why it failed; return verdict and skip reason."""
    try:
        run()
    except Skip as why:
        return SKIPPED, str(why)
    except Exception as why:  # noqa: BLE001 - a child must never return into its parent's loop
        what = str(why) if isinstance(why, Fail) else f"{type(why).__name__}: {why}"
        print(f"# {_place(why)}: {what}", flush=True)
        return FAILED, ""
    return PASSED, ""


def _place(error: Exception) -> str:
    """Return the last line of the probe, not of this module, that an exception came through."""
    place, trace = "", error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__ or not place:
            place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _run_in_child(run: Callable[[], None]) -> tuple[int, str]:
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        verdict, reason = _verdict(run)
        os.write(send, reason.encode())
        os._exit(verdict)  # a thread may wait for a fault for ever
    os.close(send)
    verdict = _await(child)
    with os.fdopen(receive) as pipe:
        reason = pipe.read() if verdict == SKIPPED else ""
    return verdict, reason


def _await(child: int) -> int:
    """Wait for a child, and kill it after TEST_SECONDS.

    One that SIGKILL does not end is stuck in the kernel: that is a hang, so the probe hangs too.
    """
    pidfd = os.pidfd_open(child)
    limit, kill = scaled(TEST_SECONDS), scaled(EVENT_SECONDS)
    late = not _readable(pidfd, limit)
    if late:
        os.kill(child, SIGKILL)
        print(f"# killed after {limit:g} s", flush=True)
        if not _readable(pidfd, kill):
            said = f"did not die of SIGKILL within {kill:g} s; waiting for it"
            print(f"# process {child} {said}", flush=True)
            select.select([pidfd], [], [])
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        print(f"# ended by signal {-code}", flush=True)
    return code if code in (PASSED, SKIPPED) and not late else FAILED


def _readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


# ---- files, mappings, contents ----------------------------------------------------------------


def huge_memfd(count: int, size: int | None = None) -> int:
    """Return a memfd of ``count`` huge pages, none of them allocated yet."""
    size = size or huge_size()
    flags = MFD_HUGETLB | (size.bit_length() - 1) << MFD_HUGE_SHIFT
    fd = os.memfd_create("hgm-probe", flags | os.MFD_CLOEXEC)
    os.ftruncate(fd, count * size)
    return fd


def map_shared(fd: int, length: int, *, reserved: bool = False) -> mmap.mmap:
    """Return a shared mapping; ``reserved`` takes its huge pages from the pool now."""
    return mmap.mmap(fd, length, flags=mmap.MAP_SHARED | (0 if reserved else MAP_NORESERVE))


def address_of(memory: mmap.mmap) -> int:
    """Return where a mapping starts."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def stamp(page: int, seed: int) -> int:
    """Return the value by which page ``page`` of filling ``seed`` is recognised."""
    return 0x48474D50 << 32 | (seed & 0xFF) << 24 | page & 0xFFFFFF


def describe(value: int) -> str:
    """Return in words what a page shows."""
    if value >> 32 != 0x48474D50:
        return f"{value:#x}"
    return f"page {value & 0xFFFFFF} of filling {value >> 24 & 0xFF}"


def _words(memory: mmap.mmap, first: int, count: int, offset: int) -> memoryview:
    """Return the eight-byte word at ``offset`` (in words) of each of the pages."""
    step = BASE_PAGE // 8
    start = first * step + offset
    return memoryview(memory).cast("B").cast("Q")[start : (first + count) * step : step]


#: The first and the last word of a page carry its stamp.
_STAMPED = (0, BASE_PAGE // 8 - 1)


def stamps(first: int, count: int, seed: int) -> array.array[int]:
    """Return the stamps of consecutive pages, made without a step of Python for each."""
    start = stamp(first, seed)
    return array.array("Q", range(start, start + count))


def fill_pages(memory: mmap.mmap, first: int, count: int, seed: int) -> None:
    """Stamp each of the pages."""
    for offset in _STAMPED:
        _words(memory, first, count, offset)[:] = memoryview(stamps(first, count, seed))


def check_pages(memory: mmap.mmap, first: int, count: int, seed: int) -> None:
    """Fail, and name the first wrong page and what it shows, unless all have their stamps."""
    wanted = stamps(first, count, seed)
    for offset in _STAMPED:
        seen = array.array("Q", _words(memory, first, count, offset).tobytes())
        if seen != wanted:
            page = next(page for page in range(count) if seen[page] != wanted[page])
            shown, expected = describe(seen[page]), describe(wanted[page])
            fail(f"page {first + page} shows {shown}, expected {expected}")


def filled_memfd(seed: int, count: int | None = None) -> int:
    """Return a memfd of one huge page, all of it or its first ``count`` base pages filled."""
    fd = huge_memfd(1)
    count = huge_pages() if count is None else count
    fill_pages(map_shared(fd, huge_size(), reserved=True), 0, count, seed)
    return fd


# ---- the interface under test -----------------------------------------------------------------


def advise(memory: mmap.mmap, advice: int) -> int:
    """Return the error number of madvise() on the whole mapping; 0 if it was accepted."""
    try:
        memory.madvise(advice)
    except OSError as error:
        return error.errno or 0
    return 0


def advice_error(size: int, advice: int) -> int:
    """Return the error number on a shared mapping of one huge page; nothing is allocated."""
    try:
        fd = huge_memfd(1, size)
        memory = map_shared(fd, size)
    except OSError as error:
        return error.errno or 0
    os.close(fd)
    with memory:
        return advise(memory, advice)


def hgm_error() -> int:
    """Return 0 if MADV_SPLIT is accepted for any huge page size, else its error number."""
    error = errno.ENODEV
    for size in offered_sizes():
        error = error and advice_error(size, MADV_SPLIT)
    return error


def collapse(memory: mmap.mmap) -> None:
    """Collapse the whole mapping, or fail the test."""
    error = advise(memory, MADV_COLLAPSE)
    assert_that(error == 0, f"MADV_COLLAPSE: {error_name(error)}")


def split(memory: mmap.mmap) -> None:
    """Split the whole mapping, or fail the test."""
    error = advise(memory, MADV_SPLIT)
    assert_that(error == 0, f"MADV_SPLIT: {error_name(error)}")


# ---- userfaultfd ------------------------------------------------------------------------------

UFFD_API = 0xAA
UFFD_FEATURE_MINOR_HUGETLBFS = 1 << 9
UFFDIO_REGISTER_MODE_MINOR = 1 << 2
UFFD_EVENT_PAGEFAULT = 0x12
UFFD_PAGEFAULT_FLAG_WRITE = 1 << 0
UFFD_PAGEFAULT_FLAG_MINOR = 1 << 2

#: Since Linux 6.1. The system call has another number on each architecture, which Python lacks.
UFFD_DEVICE = "/dev/userfaultfd"
USERFAULTFD_IOC_NEW = UFFD_API << 8


class UffdioApi(ctypes.Structure):
    _fields_ = (
        ("api", ctypes.c_uint64),
        ("features", ctypes.c_uint64),
        ("ioctls", ctypes.c_uint64),
    )


class UffdioRegister(ctypes.Structure):
    _fields_ = (
        ("start", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("ioctls", ctypes.c_uint64),
    )


class UffdioContinue(ctypes.Structure):
    _fields_ = (
        ("start", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("mapped", ctypes.c_int64),
    )


class UffdMsg(ctypes.Structure):
    """``struct uffd_msg`` with the fields of a page fault."""

    _fields_ = (
        ("event", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 7),
        ("flags", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("thread", ctypes.c_uint64),
    )


def iowr(number: int, argument: type[ctypes.Structure]) -> int:
    """Return the request number of ``_IOWR(UFFDIO, number, argument)``."""
    return 3 << 30 | ctypes.sizeof(argument) << 16 | UFFD_API << 8 | number


UFFDIO_API = iowr(0x3F, UffdioApi)
UFFDIO_REGISTER = iowr(0x00, UffdioRegister)
UFFDIO_CONTINUE = iowr(0x07, UffdioContinue)


def _handshake(features: int) -> tuple[int, int]:
    """Return a new userfaultfd with the features, and those that the kernel offers."""
    try:
        device = os.open(UFFD_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        try:
            uffd = fcntl.ioctl(device, USERFAULTFD_IOC_NEW, os.O_CLOEXEC | os.O_NONBLOCK)
        finally:
            os.close(device)
    except OSError as error:
        skip(f"{UFFD_DEVICE}: {error_name(error.errno or 0)}")
    api = UffdioApi(api=UFFD_API, features=features)
    fcntl.ioctl(uffd, UFFDIO_API, api)
    return uffd, api.features


def uffd_open(features: int) -> int:
    """Return a non-blocking userfaultfd; skip the test if a feature is not offered."""
    asking, offered = _handshake(0)
    os.close(asking)
    if features & ~offered:
        skip(f"UFFDIO_API: features {features & ~offered:#x} are not offered")
    return _handshake(features)[0]


def uffd_register(uffd: int, memory: mmap.mmap, mode: int) -> None:
    """Register the whole mapping."""
    request = UffdioRegister(start=address_of(memory), length=len(memory), mode=mode)
    fcntl.ioctl(uffd, UFFDIO_REGISTER, request)


def map_registered(fd: int, *, is_split: bool = False) -> tuple[mmap.mmap, int]:
    """Return a fresh mapping of the file's first huge page, and its userfaultfd in minor mode."""
    memory = map_shared(fd, huge_size())
    uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS)
    if is_split:
        split(memory)
    uffd_register(uffd, memory, UFFDIO_REGISTER_MODE_MINOR)
    return memory, uffd


def uffd_continue(uffd: int, start: int, length: int) -> tuple[int, int]:
    """Return the error number, 0 for success, and the kernel's word in ``mapped``."""
    request = UffdioContinue(start=start, length=length)
    try:
        fcntl.ioctl(uffd, UFFDIO_CONTINUE, request)
    except OSError as error:
        return error.errno or 0, request.mapped
    return 0, request.mapped


def assert_continue(uffd: int, start: int, length: int, error: int, mapped: int) -> None:
    """Continue the range; fail the test unless it gave just this: bytes, or the negative error."""
    got = uffd_continue(uffd, start, length)
    if got != (error, mapped):
        wanted, seen = (_result(*each, length) for each in ((error, mapped), got))
        fail(f"UFFDIO_CONTINUE of {size_text(length)}: expected {wanted}, got {seen}")


def _result(error: int, mapped: int, length: int) -> str:
    if mapped == (-error if error else length):
        return error_name(error)
    size = size_text(mapped)
    return f"{error_name(error)} after {size}" if error else f"success with {size} done"


def next_fault(uffd: int) -> UffdMsg:
    """Return the next message, which must be of a fault; fail if none comes in time."""
    if not _readable(uffd, scaled(EVENT_SECONDS)):
        fail(f"no fault message within {scaled(EVENT_SECONDS):g} s")
    message = UffdMsg.from_buffer_copy(os.read(uffd, ctypes.sizeof(UffdMsg)))
    assert_that(message.event == UFFD_EVENT_PAGEFAULT, f"event {message.event:#x}")
    return message


def assert_no_fault(uffd: int) -> None:
    """Fail the test if a message waits."""
    if _readable(uffd, 0):
        message = next_fault(uffd)
        fail(f"unexpected fault at {message.address:#x} with flags {message.flags:#x}")


def assert_fault(uffd: int, address: int, flags: int) -> None:
    """Fail the test unless the next message is of a fault at the address, with the flags."""
    message = next_fault(uffd)
    if (message.address, message.flags) != (address, flags):
        fail(
            f"fault at {message.address:#x} with flags {message.flags:#x}, expected {address:#x} "
            f"with {flags:#x}: off by {size_text(message.address - address)}"
        )


class Touch:
    """A thread that reads eight bytes, or writes ``value``, and may be blocked in a fault."""

    def __init__(self, address: int, value: int | None = None) -> None:
        self._value = ctypes.c_uint64(value or 0)
        here, there = ctypes.byref(self._value), ctypes.c_void_p(address)
        ends = (here, there) if value is None else (there, here)
        arguments = (*ends, ctypes.c_size_t(8))
        self._thread = threading.Thread(target=libc.memcpy, args=arguments, daemon=True)
        self._address = address
        self._thread.start()

    def is_blocked(self) -> bool:
        """Return whether the access has not ended yet."""
        return self._thread.is_alive()

    def end(self) -> int:
        """Return what was read or written; fail the test if it is still held."""
        self._thread.join(scaled(EVENT_SECONDS))
        if self._thread.is_alive():
            fail(
                f"the access to {self._address:#x} is still held after {scaled(EVENT_SECONDS):g} s"
            )
        return self._value.value


# ---- page tables, seen from outside the kernel ------------------------------------------------

#: Longer than the host looks for this process, shorter than a test may take.
CHECKPOINT_SECONDS = 10.0

SMAPS_FIELDS = {
    b"HugetlbPudMapped": "pud",
    b"HugetlbPmdMapped": "pmd",
    b"HugetlbPteMapped": "pte",
    b"Shared_Hugetlb": "all",
    b"Private_Hugetlb": "all",
}


def smaps_mapped(start: int, length: int) -> dict[str, int]:
    """Return the bytes that smaps says are mapped in a range, by the size of entries and in all.

    Nothing, if a mapping is not all in the range; and no field that the kernel does not have.
    """
    mapped: dict[str, int] = {}
    inside = False
    for line in _read("/proc/self/smaps").splitlines():
        name, _, rest = line.partition(b":")
        if b"-" in name:
            low, high = (int(each, 16) for each in name.split()[0].split(b"-"))
            inside = start <= low and high <= start + length
            if not inside and low < start + length and high > start:
                return {}
        elif inside and name in SMAPS_FIELDS:
            level = SMAPS_FIELDS[name]
            mapped[level] = mapped.get(level, 0) + int(rest.split()[0]) * 1024
    return mapped


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes long under emulation
        return file.read()


def pagemap_read(start: int, count: int) -> mmap.mmap:
    """Return memory that holds what /proc/self/pagemap says of ``count`` base pages."""
    memory = mmap.mmap(-1, -(-count * 8 // BASE_PAGE) * BASE_PAGE)
    fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    done = os.preadv(fd, [memoryview(memory)[: count * 8]], start // BASE_PAGE * 8)
    os.close(fd)
    assert_that(done == count * 8, f"/proc/self/pagemap gave {done} bytes")
    return memory


PAGEMAP_PRESENT = 1 << 63


def pagemap_pages(memory: mmap.mmap, bit: int, count: int | None = None) -> list[int]:
    """Return which of a mapping's first ``count`` base pages have the bit in pagemap."""
    count = huge_pages() if count is None else count
    entries = memoryview(pagemap_read(address_of(memory), count)).cast("Q")[:count].tolist()
    return [page for page, entry in enumerate(entries) if entry & bit]


def mincore_pages(memory: mmap.mmap, count: int | None = None) -> list[int]:
    """Return which of a mapping's first ``count`` base pages mincore() calls resident."""
    count = huge_pages() if count is None else count
    states = ctypes.create_string_buffer(count)
    start, length = ctypes.c_void_p(address_of(memory)), ctypes.c_size_t(count * BASE_PAGE)
    if libc.mincore(start, length, states):
        fail(f"mincore: {error_name(ctypes.get_errno())}")
    return [page for page, state in enumerate(states.raw) if state & 1]


def assert_mapped(memory: mmap.mmap, **want: int) -> None:
    """Fail the test unless smaps counts these bytes: ``pud=``, ``pmd=``, ``pte=``; 0 if unsaid."""
    got = smaps_mapped(address_of(memory), len(memory))
    for level in ("pud", "pmd", "pte"):
        seen, wanted = got.get(level), want.get(level, 0)
        shown = "nothing" if seen is None else size_text(seen)
        assert_that(seen == wanted, f"smaps: {shown} by {level} entries, not {size_text(wanted)}")


def whole_level() -> str:
    """Return the name of the entries that map a whole huge page."""
    return "pud" if huge_size() >= PUD_PAGE else "pmd"


def checkpoint(memory: mmap.mmap, want: str = "") -> None:
    """Stop until the host has compared a mapping's page tables with what the kernel says of them.

    ``want`` is what the test believes, such as ``pmd:1,pte:3``; see ``c/hgm_probe.h``.
    """
    if not _listening:
        print("# no checkpoint without --checkpoints host", flush=True)
        return
    start, length = address_of(memory), len(memory)
    pagemap = pagemap_read(start, length // BASE_PAGE)
    smaps = ",".join(f"{level}:{size}" for level, size in smaps_mapped(start, length).items())
    beacon = mmap.mmap(-1, BASE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    words = memoryview(beacon).cast("Q")
    words[0] = token = int.from_bytes(os.urandom(8), "little")
    allowed = os.sched_getaffinity(0)
    cpu = min(allowed)
    os.sched_setaffinity(0, {cpu})
    print(
        f"# checkpoint cpu={cpu} start={start:#x} length={length:#x} page={huge_size():#x} "
        f"beacon={address_of(beacon):#x} token={token:#x} pagemap={address_of(pagemap):#x} "
        f"smaps={smaps} want={want} name={_test}",
        flush=True,
    )
    end = time.monotonic() + CHECKPOINT_SECONDS
    while not words[1] and time.monotonic() < end:
        pass  # in user mode, so that the vCPU has this process's page tables
    os.sched_setaffinity(0, allowed)
    assert_that(
        bool(words[1]), f"the host did not read the page tables within {CHECKPOINT_SECONDS:g} s"
    )


def run(
    tests: Sequence[Test],
    *,
    pages: int = 0,
    needs_hgm: bool = False,
    setup: Callable[[], object] | None = None,
) -> NoReturn:
    """End the program with the exit code of `probe_main`."""
    sys.exit(probe_main(tests, pages=pages, needs_hgm=needs_hgm, setup=setup))
