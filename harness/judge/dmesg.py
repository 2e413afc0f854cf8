# SPDX-License-Identifier: GPL-2.0-only
"""Find the splats in a kernel's console output. Pure.

Our own, because no Python library does this (syzkaller's pkg/report is Go).

`TITLES` has every kind of splat. A splat begins at its title, such as ``BUG: KASAN: ...``. Its
block includes what the kernel prints before the title (``cut here``, the lines of dump_page) and
ends at the end mark of its kind, or with its call trace. Titles are those of Linux 6.1 to 6.19
(kernel/panic.c, kernel/locking/lockdep.c, mm/kasan/report.c, mm/slub.c, arch/x86/mm/fault.c and so
on). They count at the start of a message only, so a line that quotes one is not a splat. Once the
text has printk's time stamps, lines without one are not the kernel's, except the line that counts
dropped messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.judge import kernel_functions
from harness.judge.lines import (
    PRINTED_CODE,
    PRINTED_NUMBERS,
    PROGRAM_COUNTER,
    SYMBOL,
    embedded_stamp,
    split,
    stamp,
    stamp_seconds,
)
from harness.records.probe import Splat

#: Every kind with its titles; the first that matches wins.
TITLES: tuple[tuple[str, str], ...] = (
    ("panic", r"Kernel panic - not syncing|PANIC: early exception"),
    ("double-fault", r"(?:traps: )?PANIC: double fault|(?:Oops: )?double fault: [0-9a-f]{4} \[#"),
    (
        "general-protection",
        r"(?:Oops: )?general protection fault\b.*: [0-9a-f]{4} \[#",
    ),
    ("kasan", r"BUG: KASAN: "),
    ("kfence", r"BUG: KFENCE: "),
    ("kcsan", r"BUG: KCSAN: "),
    ("ubsan", r"UBSAN: "),
    (
        "lockdep",
        r"WARNING: (?:possible (?:circular|recursive|irq lock)|inconsistent lock state"
        r"|suspicious RCU usage|bad (?:unlock balance|contention)|held lock freed|lock held when"
        r"|Nested lock|chain_key collision|\S+-safe -> \S+-unsafe|\S+/\d+ still has locks held)"
        r"|\[ ?BUG: .*\]|INFO: trying to register non-static key"
        r"|BUG: (?:spinlock|rwlock|MAX_LOCKDEP|key \S+ has not been|looking up invalid subclass)",
    ),
    ("bad-page-state", r"BUG: Bad page (?:state|cache) in process"),
    ("bad-page-map", r"BUG: Bad page map in process|\S+:\d+: bad (?:pgd|p4d|pud|pmd|pte)\b"),
    ("bad-rss-counter", r"BUG: (?:Bad rss-counter state|non-zero pgtables_bytes)"),
    ("list-corruption", r"list_(?:add|del)(?:_rcu)? corruption|slist corruption"),
    ("scheduling-while-atomic", r"BUG: scheduling (?:while atomic|in a non-blocking)"),
    ("sleeping-in-invalid-context", r"BUG: sleeping function called from invalid context"),
    ("soft-lockup", r"(?:watchdog: )?BUG: (?:soft lockup|workqueue lockup)"),
    ("hard-lockup", r"(?:NMI )?(?:watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP"),
    ("rcu-stall", r"(?:rcu: )?INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stall"),
    ("hung-task", r"INFO: task .+ blocked (?:for more than|in I/O wait)"),
    ("slab-corruption", r"BUG \S.* \((?:Not tainted|Tainted: .*)\): "),
    ("memory-leak", r"kmemleak: \d+ new suspected memory leak|unreferenced object 0x"),
    ("out-of-memory", r"\S.* invoked oom-killer: |(?:Memory cgroup )?[Oo]ut of memory: Killed"),
    (
        "oops",
        r"Oops\b[: ]|BUG: unable to handle|BUG: kernel NULL pointer|Unable to handle kernel"
        r"|Internal error: "
        r"|BUG: .*stack guard page was hit|kernel tried to execute|unable to execute userspace"
        r"|(?:invalid opcode|divide error|stack segment|int3): [0-9a-f]{4} \[#"
        r"|Insufficient stack space to handle exception|Unhandled \S+ el1h \S+ exception on CPU",
    ),
    ("bug", r"[Kk]ernel BUG at "),
    ("bug-message", r"BUG: "),
    ("console-gap", r"\*\* \d+ printk messages dropped \*\*"),
    (
        "warning",
        r"WARNING: (?:CPU: \d+ PID: \d+ at |.* at \S+, CPU#\d+: |stack recursion on|kernel stack )",
    ),
)

#: Kinds after which the kernel cannot be trusted; see `is_fatal` for blocks of other kinds.
FATAL = frozenset({"panic", "double-fault", "general-protection", "oops", "bug"})

#: Kinds that report a lack of progress.
STUCK = frozenset({"hung-task", "soft-lockup", "hard-lockup", "rcu-stall"})

#: Lines of one block; a trace of every task is longer, and not a splat.
MAX_BLOCK = 400

_TITLE = re.compile("|".join(f"(?P<{k.replace('-', '_')}>{p})" for k, p in TITLES))
_FATAL_LINE = re.compile(
    r"[Kk]ernel BUG at |Oops\b[: ]|Internal error: |Kernel panic - not syncing"
)

# Stands before the next message, without a stamp (console_prepend_dropped of kernel/printk).
_DROPPED = re.compile(r"\*\* \d+ printk messages dropped \*\*")

_CUT_HERE = "------------[ cut here ]------------"
_TRACE = re.compile(
    r" *(?:\? )?(?:[A-Za-z_.][\w.]*\+0x[0-9a-f]+/)?0x[0-9a-f]+(?: \[\w+\])?(?: \([A-Z]+\))?\s*\Z"
)
_TRACE_TAG = re.compile(r" *</?[A-Za-z#]+[0-9]*>\Z")

# What is printed before a title and belongs to it: dump_page, dump_vma, page_owner, rules.
_PREFACE = re.compile(
    r"(?:page|head|memcg|aops|raw|flags|anon flags|page_type|pgd|pmd|pte|pfn|index|mapping): ?"
    r"|(?:anon|ksm|head|file|page|vma|mm|prot|next|prev|order)[ :]?\S* ?(?:flags|refcount|pfn)"
    r"|page:\S|\S+ (?:ino|flags):|page (?:dumped because|has been|last|allocated)|page_owner "
    r"|-{20,}|={10,}|\s*\Z"
)

# What may still come after a call trace in the same splat.
_REST = re.compile(
    rf" *(?:Code: |{PRINTED_CODE}|{PRINTED_NUMBERS})"
    r"|CPU: |Hardware name: |Workqueue: |Modules linked in|Call [Tt]race:|Tainted: "
    r"|NMI backtrace|Sending NMI|rcu: |task:|irq event stamp|(?:hard|soft)irqs last|FIX "
    r"|Disabling lock debugging|Showing all locks|[0-9]+ locks? held| #[0-9]+: |={10,}"
    r"|note: |Kernel Offset|Rebooting in|---\["
)

# The last line of a splat, where its kind has one; the others end with their last call trace.
_RULE = re.compile(r"={10,}\Z")
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_LAST = {
    "kasan": _RULE,
    "kfence": _RULE,
    "kcsan": _RULE,
    "panic": _END,
    "double-fault": _END,
    "general-protection": _END,
    "oops": _END,
    "bug": _END,
    "warning": _END,
    "ubsan": _END,
    "list-corruption": _END,
    "out-of-memory": re.compile(r".*[Oo]ut of memory: Killed|Out of memory and no killable"),
    "bad-rss-counter": re.compile(r""),
    "console-gap": re.compile(r""),
    "memory-leak": re.compile(r"kmemleak: "),
}

# Splats that have several titles before their trace, and which (as groups of `_TITLE`).
_SEVERAL = frozenset({"oops", "bug", "double-fault", "general-protection", "list-corruption"})
_FURTHER = frozenset({"oops", "bug", "warning", "double_fault", "general_protection"})

# Characters of a line that are searched; printk cuts its lines at 1024.
_WIDTH = 2048

# Seconds between two lines of the kernel that cannot be of one splat.
_GAP = 2.0

# Functions at the top of a trace because they found the damage or report it; those that
# print or lock in any trace are `kernel_functions.BYSTANDERS`.
_REPORTER = re.compile(
    r"_*(?:print_|kasan_|asan_|check_|report_|warn|bad_page\b|ubsan_"
    r"|might_resched|might_sleep|slab_|object_err|fix_up|kfence_"
    r"|save_stack|list_(?:add|del)_|refcount_warn|validate_chain|lock_release|lockdep_"
    r"|handle_bug|exc_|asm_exc_|dump_header|oom_kill_process|out_of_memory|oops_end|die\b)"
)

# Functions that check a page while they free it. They are of interest where RIP is in them, and not
# where a trace only passes through them.
_FREES = re.compile(r"_*(?:free_(?:page_is_bad|pages|unref|one_page|frozen)|(?:put|release)_page)")


@dataclass(frozen=True)
class _Message:
    """One line of the kernel, its offset in bytes, and its time stamp (None: no stamp)."""

    text: str
    offset: int
    seconds: float | None


def scan(text: str) -> tuple[Splat, ...]:
    """Return the splats in ``text``, in order; never raises.

    Args:
        text: console output; decode it with `harness.judge.lines.decode`, so that the splats'
            offsets count the bytes that came.
    """
    messages = _messages(text)
    found: list[Splat] = []
    at = 0
    for index, message in enumerate(messages):
        match = _TITLE.match(message.text) if index >= at else None
        if match is None:
            continue
        kind = (match.lastgroup or "").replace("_", "-")
        first = _begin(messages, index, at)
        at = _end(messages, index, kind)
        while not messages[at - 1].text:
            at -= 1
        block = tuple(part.text for part in messages[first:at])
        found.append(
            Splat(kind=kind, title=message.text, block=block, offset=messages[first].offset)
        )
    return tuple(found)


def is_fatal(splat: Splat) -> bool:
    """Return whether the kernel cannot be trusted any more: an oops, BUG_ON, panic or the like."""
    return splat.kind in FATAL or any(_FATAL_LINE.match(line) for line in splat.block)


def outside(splats: Sequence[Splat], spans: Sequence[tuple[int, int]]) -> tuple[Splat, ...]:
    """Return the splats that began in none of the spans.

    Args:
        splats: from the whole console.
        spans: pairs of offsets, from (included) and to (not included), bytes.
    """
    return tuple(s for s in splats if not any(begin <= s.offset < end for begin, end in spans))


def _messages(text: str) -> list[_Message]:
    """Return the kernel's lines: all of them, or the stamped ones once any line is stamped."""
    found = list(_candidates(text))
    if any(message.seconds is not None for message in found):
        return [m for m in found if m.seconds is not None or _DROPPED.match(m.text)]
    return found


def _candidates(text: str) -> Iterator[_Message]:
    for line in split(text):
        offset, text = line.offset, line.text
        # Another writer's unfinished line, such as a shell's echo, may stand before a message.
        if (cut := embedded_stamp(text)) > 0:
            yield _Message(text[:cut], offset, stamp_seconds(text[:cut]))
            offset, text = offset + len(text[:cut].encode()), text[cut:]
        seconds = stamp_seconds(text)
        yield _Message(stamp(text)[1][:_WIDTH].rstrip(), offset, seconds)


def _begin(messages: list[_Message], title: int, floor: int) -> int:
    """Return the first message of the block around a title, not before ``floor``."""
    first = title
    for index in range(title - 1, max(floor, title - 16) - 1, -1):
        if messages[index].text == _CUT_HERE:
            first = index
            break
        if _END.match(messages[index].text):
            break
    while first > floor and (
        _PREFACE.match(messages[first - 1].text) or _TRACE.match(messages[first - 1].text)
    ):
        first -= 1
    while first < title and not messages[first].text.strip():
        first += 1
    return first


def _end(messages: list[_Message], title: int, kind: str) -> int:
    """Return the index after the last message of the block with this title."""
    last = _LAST.get(kind)
    if last is not None and last.match(messages[title].text):
        return title + 1
    traced = False
    for index in range(title + 1, min(len(messages), title + MAX_BLOCK)):
        text = messages[index].text
        if _gap(messages[index - 1], messages[index]) or text == _CUT_HERE:
            return index
        if last is not None and last.match(text):
            return index + 1
        if _TITLE.match(text) and not _continues(kind, text, traced=traced):
            return index
        if last is None and traced and not _belongs(text):
            return index
        traced = traced or "Call Trace:" in text or "Call trace:" in text
    return min(len(messages), title + MAX_BLOCK)


def _gap(before: _Message, after: _Message) -> bool:
    if before.seconds is None or after.seconds is None:
        return False
    return not -_GAP < after.seconds - before.seconds < _GAP


def _continues(kind: str, text: str, *, traced: bool) -> bool:
    """Return whether a further title is of the same splat: an oops has up to three."""
    if traced or kind not in _SEVERAL:
        return False
    match = _TITLE.match(text)
    return match is not None and match.lastgroup in _FURTHER


def _belongs(text: str) -> bool:
    return bool(
        not text.strip() or _TRACE.match(text) or _TRACE_TAG.match(text) or _REST.match(text)
    )


def culprit(block: Sequence[str], symbols: Mapping[str, Sequence[str]]) -> str:
    """Return the first function at RIP (arm64: pc) or in a trace that does not only report; or "".

    It is as the kernel prints it: ``func+0x12/0x40``.

    Args:
        block: the lines of a splat.
        symbols: `Capture.symbols`.
    """
    for line in block:
        at_pc = line.startswith(PROGRAM_COUNTER)
        if not at_pc and (not _TRACE.match(line) or "? " in line):
            continue
        place = SYMBOL.search(line)
        if place is None:
            continue
        name = place[1]
        if not at_pc and place[2] == "0":
            # arm64 names the function that begins where a call that never returns would return to.
            frames = symbols.get(place[0])
            if not frames:
                continue
            name = frames[-1].partition("+")[0]
        if not _reports(name) and (at_pc or not _FREES.match(name)):
            return place[0]
    return ""


def _reports(name: str) -> bool:
    return _REPORTER.match(name) is not None or kernel_functions.bystander(name) is not None


def is_stuck(line: str) -> bool:
    """Return whether a raw line of the console has the title of a `STUCK` splat."""
    titles = (_TITLE.match(message.text) for message in _candidates(line))
    return any((title.lastgroup or "").replace("_", "-") in STUCK for title in titles if title)
