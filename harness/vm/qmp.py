# SPDX-License-Identifier: GPL-2.0-only
"""QMP for synchronous code: qemu.qmp's client on an event loop in a thread.

A log gets every command, answer and event in order, a JSON object a line.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import ExecuteError, QMPClient, QMPError

from harness.deadline import Deadline
from harness.errors import QemuError, QmpSilent

Value = TypeVar("Value")

_CLOSE_SECONDS = 2.0

# Errors reach the caller as exceptions; the library would print them as well.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class Qmp:
    """A QMP session over a connected socket.

    Args:
        sock: the harness's end of the socket; this object closes it.
        log: a file to which every command, answer and event is appended.
        on_event: called in the session's thread with each event; must not block.
    """

    def __init__(
        self,
        sock: socket.socket,
        log: Path,
        *,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    ) -> None:
        self._client = QMPClient("hgm")
        self._sock = sock
        self._log = log.open("a", buffering=1)
        self._on_event = on_event
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._pending: concurrent.futures.Future[None] | None = None
        self._connected = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="qmp", daemon=True)
        self._thread.start()

    def connect(self, deadline: Deadline) -> None:
        """Read the greeting and negotiate.

        Raises:
            QemuError: if the answer is not QMP, or QEMU ended.
            QmpSilent: if nothing answered in time.
        """
        self._pending = self.spawn(self._client.connect(self._sock))
        self._result(self._pending, deadline, "connect")
        self._connected = True
        self.spawn(self._collect())

    def execute(
        self, command: str, arguments: dict[str, object] | None = None, *, deadline: Deadline
    ) -> Any:
        """Run a QMP command and return its result.

        Args:
            command: its QMP name.
            arguments: its arguments.
            deadline: when the answer must be there.

        Raises:
            QemuError: if QEMU refused it, or ended.
            QmpSilent: if no answer came in time.
        """
        self._note(command=command, arguments=arguments)
        answer = self._result(
            self.spawn(self._client.execute(command, arguments)), deadline, command
        )
        self._note(answer=answer)
        return answer

    def give(self, name: str, descriptor: int, deadline: Deadline) -> None:
        """Give QEMU a copy of a file descriptor, under a name.

        Raises:
            QemuError, QmpSilent: as `execute`.
        """

        async def send() -> None:
            self._client.send_fd_scm(descriptor)

        self._result(self.spawn(send()), deadline, "getfd")
        self.execute("getfd", {"fdname": name}, deadline=deadline)

    def monitor(self, line: str, deadline: Deadline) -> str:
        """Return what the human monitor prints for a line; for what QMP has no command.

        Raises:
            QemuError, QmpSilent: as `execute`.
        """
        return str(self.execute("human-monitor-command", {"command-line": line}, deadline=deadline))

    def spawn(self, coroutine: Coroutine[Any, Any, Value]) -> concurrent.futures.Future[Value]:
        """Run a coroutine in the session's thread, until it ends or the session does."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def status(self) -> str:
        """Return QEMU's run state, such as ``running``; for the session's thread, not logged.

        Raises:
            QemuError: if QEMU refused, or ended the session.
        """
        with _as_qemu_error("query-status"):
            return str((await self._client.execute("query-status"))["status"])  # type: ignore[index]

    def wait_event(
        self, match: Callable[[dict[str, Any]], bool], deadline: Deadline
    ) -> dict[str, Any]:
        """Wait for an event, past ones included, and return it.

        Raises:
            DeadlineExpired: if it did not come in time.
        """
        with self._changed:
            while True:
                for event in self._events:
                    if match(event):
                        return event
                if not self._changed.wait(timeout=deadline.remaining()):
                    raise deadline.error()

    def events(self) -> tuple[dict[str, Any], ...]:
        """Return the events so far, oldest first."""
        with self._changed:
            return tuple(self._events)

    def close(self) -> None:
        """End the session and its thread; calling it twice does nothing."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        # A pending connect ends with the socket; disconnecting it as well would trip an assertion
        # of the library.
        end = self.spawn(self._client.disconnect()) if self._connected else self._pending
        if end is not None:
            concurrent.futures.wait([end], timeout=_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_CLOSE_SECONDS)
        with contextlib.suppress(OSError):
            self._sock.close()
        self._log.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _collect(self) -> None:
        async for message in self._client.events:
            event = dict(message)
            with self._changed:
                self._events.append(event)
                self._changed.notify_all()
            self._on_event(event)
            with contextlib.suppress(OSError):  # the next command reports a full disk
                self._note(event=event)

    def _result(
        self, future: concurrent.futures.Future[Value], deadline: Deadline, what: str
    ) -> Value:
        try:
            with _as_qemu_error(what):
                return future.result(timeout=deadline.remaining())
        except concurrent.futures.TimeoutError:
            # Not cancelled: qemu.qmp 0.0.6 trips an assertion when a connect is. It ends with the
            # socket.
            raise QmpSilent(
                f"QEMU did not answer QMP's {what} within {deadline.seconds:g} s"
            ) from None

    def _note(self, **what: object) -> None:
        with contextlib.suppress(ValueError):  # an event after close()
            self._log.write(json.dumps({"time": round(time.time(), 6), **what}) + "\n")


@contextlib.contextmanager
def _as_qemu_error(what: str) -> Iterator[None]:
    try:
        yield
    except ExecuteError as error:
        raise QemuError(f"QEMU refused {what}: {error}") from None
    except concurrent.futures.TimeoutError:
        raise  # an OSError since Python 3.11
    except (QMPError, OSError, EOFError, asyncio.CancelledError) as error:
        raise QemuError(f"QEMU closed QMP during {what}: {error}") from None
