# SPDX-License-Identifier: GPL-2.0-only
"""Ends the command on SIGINT, SIGTERM or SIGHUP, but not in the middle of taking a lock.

Python raises KeyboardInterrupt wherever the main thread is. In a `threading.Condition` that has
just been entered this leaves the lock taken, and in an import the lock of the module; the thread
that needs it next waits for ever. Where a context manager has begun, and the stack that is to end
it does not know it yet, what was begun stays. In a destructor the interrupt is lost. In all of
these it comes a moment later instead.
"""

from __future__ import annotations

import signal
import threading
import traceback
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_AGAIN_SECONDS = 0.005

#: How often an interrupt waits; then it comes wherever the main thread is, for that may be blocked.
_MOST_WAITS = 400

#: Modules of the standard library whose steps belong together.
_STEPS_OF = frozenset({"contextlib.py", "threading.py", "weakref.py", "_weakrefset.py"})
_IMPORT = "<frozen importlib._bootstrap>"

_waits = 0


def install() -> None:
    """Have the signals end the command."""
    for number in signals():
        signal.signal(number, interrupt)


def signals() -> list[signal.Signals]:
    """Return the signals that end a command; what nohup ignores, for one, remains ignored."""
    return [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise KeyboardInterrupt, or have SIGALRM call this again soon."""
    global _waits
    if frame is not None and _waits < _MOST_WAITS and _belongs_together(frame):
        _waits += 1
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        return
    _waits = 0
    raise KeyboardInterrupt


def _belongs_together(frame: FrameType) -> bool:
    """Return whether the frame is between two steps of which the second must follow the first."""
    codes = (each.f_code for each, _ in traceback.walk_stack(frame))
    if any(code.co_filename == _IMPORT or code.co_name == "__del__" for code in codes):
        return True
    return frame.f_code.co_filename.rpartition("/")[2] in _STEPS_OF and not _waiting(frame)


def _waiting(frame: FrameType) -> bool:
    """Return whether it waits for another thread, which may take long and ends well."""
    if frame.f_code is threading.Condition.wait.__code__:
        return "gotit" in frame.f_locals  # it has given up the lock, and takes it again at its end
    return frame.f_code.co_name in ("join", "_wait_for_tstate_lock")
