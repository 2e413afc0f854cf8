# SPDX-License-Identifier: GPL-2.0-only
"""An interrupt at any step of taking a lock, importing or entering leaves nothing half done."""

import contextlib
import dis
import gc
import importlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from harness.cli import interrupt

_MOST_STEPS = 3000

#: The interpreter looks for signals after these instructions, and nowhere else.
_BEFORE_SIGNALS = ("CALL", "JUMP_BACKWARD", "RESUME")


@pytest.fixture(autouse=True)
def restored_signals() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupted_at(step: int, filename: str, work: Callable[[], object]) -> bool:
    """Call ``work``, and the signal handler at a step in a file; return whether there was one."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.endswith(filename):
            return None
        frame.f_trace_opcodes = True
        last = ""

        def each(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal seen, last
            if event == "opcode":
                if last.startswith(_BEFORE_SIGNALS):
                    seen += 1
                    if seen == step:
                        sys.settrace(None)
                        interrupt.interrupt(signal.SIGTERM, frame)
                last = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            return each

        return each

    def traced() -> None:
        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks at it when tracing begins only
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(None)
        if seen >= step:
            time.sleep(5)  # it comes here, if it was put off
            raise AssertionError("it did not come")

    with contextlib.suppress(KeyboardInterrupt):
        traced()
    return seen >= step


def at_each_step(filename: str, work: Callable[[], object], check: Callable[[], None]) -> None:
    for step in range(1, _MOST_STEPS):
        reached = interrupted_at(step, filename, work)
        check()
        if not reached:
            assert step > 5, "it is a test"
            return
    raise AssertionError("it has no end")


def signal_soon() -> None:
    main = threading.main_thread().ident
    threading.Timer(0.2, signal.pthread_kill, [main, signal.SIGTERM]).start()


def in_time(work: Callable[[], object]) -> None:
    """Call it in another thread, and fail if it never returns."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_condition_that_was_waited_for_is_free_for_other_threads() -> None:
    condition = threading.Condition()

    def work() -> None:
        with condition:
            condition.wait_for(lambda: False, 0.002)

    def check() -> None:
        def take() -> None:
            with condition:
                condition.notify_all()

        in_time(take)

    at_each_step("threading.py", work, check)


def test_a_module_can_be_imported_by_other_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hgm_test_module.py").write_text("import hgm_test_other\n")
    (tmp_path / "hgm_test_other.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def work() -> None:
        importlib.import_module("hgm_test_module")

    def check() -> None:
        in_time(work)
        del sys.modules["hgm_test_module"], sys.modules["hgm_test_other"]

    at_each_step("<frozen importlib._bootstrap>", work, check)


def test_what_a_stack_has_begun_is_ended() -> None:
    begun, ended = 0, 0

    @contextlib.contextmanager
    def thing() -> Iterator[None]:
        nonlocal begun, ended
        begun += 1
        try:
            yield
        finally:
            ended += 1

    def work() -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(thing())
            stack.enter_context(thing())

    def check() -> None:
        gc.collect()
        assert begun == ended

    at_each_step("contextlib.py", work, check)


def test_a_blocked_wait_ends_at_once() -> None:
    interrupt.install()
    signal_soon()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        threading.Event().wait(30)
    assert time.monotonic() - begun < 1.5


def test_what_is_blocked_in_such_a_step_is_interrupted_in_the_end() -> None:
    interrupt.install()
    held = threading.Lock()
    held.acquire()
    condition = threading.Condition(held)
    signal_soon()
    with pytest.raises(KeyboardInterrupt), condition:
        pass


def test_a_destructor_does_not_swallow_it() -> None:
    class Thing:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def make_and_drop() -> None:
        Thing()
        time.sleep(5)

    interrupt.install()
    with pytest.raises(KeyboardInterrupt):
        make_and_drop()


def test_what_was_ignored_remains_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt.install()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert interrupt.signals() == [signal.SIGINT, signal.SIGTERM]
