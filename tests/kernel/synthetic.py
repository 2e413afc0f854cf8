# SPDX-License-Identifier: GPL-2.0-only
"""A long series over a real kernel, made here: harmless edits, the reference, and one fault in it.

Two harmless patches come first, then the whole reference series, then harmless ones again; the
fault takes its place among the last. Every harmless patch adds a comment to another file of mm/.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from harness.context import Context
from harness.deadline import Deadline
from harness.kernel import faults, registry
from harness.kernel.git import Store
from harness.kernel.obtain import KernelRequest, resolve_request
from harness.progress import Silent
from harness.workspace import Workspace

REFERENCE = "hgm-6.12"
_BEFORE = 2

#: Files of mm/ that 6.12 compiles with the base fragment and the reference does not touch.
_FILES = (
    "mm/init-mm.c",
    "mm/interval_tree.c",
    "mm/debug.c",
    "mm/mmzone.c",
    "mm/fadvise.c",
    "mm/dmapool.c",
    "mm/list_lru.c",
    "mm/mempool.c",
    "mm/mm_init.c",
    "mm/mmap_lock.c",
    "mm/msync.c",
    "mm/oom_kill.c",
    "mm/page-writeback.c",
    "mm/pgtable-generic.c",
    "mm/readahead.c",
    "mm/shrinker.c",
    "mm/swap.c",
    "mm/truncate.c",
    "mm/util.c",
    "mm/vmstat.c",
    "mm/workingset.c",
    "mm/compaction.c",
    "mm/percpu.c",
    "mm/mlock.c",
)


def source_text(source: str) -> Callable[[str], str]:
    """Return a function that returns a file of a source."""
    deadline = Deadline.after(1200, "the source")
    context = Context(Workspace.default(), deadline, Silent())
    found = resolve_request(KernelRequest(source=source), context=context)
    store = Store.of(context)

    def text(path: str) -> str:
        said = store.text(found.source.tree, path, deadline)
        assert said is not None, path
        return said

    return text


def write(directory: Path, text: Callable[[str], str], fault: str, *, total: int) -> int:
    """Write a quilt series of ``total`` patches and return the number of the faulty one, from 1.

    Args:
        directory: where to; made.
        text: returns a file of the source.
        fault: the patch with the fault; it goes on top of the reference.
        total: patches, the fault and the reference included.
    """
    directory.mkdir()
    reference = Path(registry.find(REFERENCE).directory)
    parts = [reference / line for line in (reference / "series").read_text().split()]
    files = iter(_FILES)
    harmless = total - len(parts) - 1
    series = [_edit(next(files), text) for _ in range(_BEFORE)]
    series += [(part.name, part.read_text()) for part in parts]
    after = harmless - _BEFORE
    place = after * 2 // 3
    series += [_edit(next(files), text) for _ in range(place)]
    culprit = len(series) + 1
    series.append(("fault.patch", fault))
    series += [_edit(next(files), text) for _ in range(after - place)]
    names = []
    for number, (name, patch) in enumerate(series, 1):
        names.append(f"s{number:02}-{name}")
        (directory / names[-1]).write_text(patch)
    (directory / "series").write_text("\n".join(names) + "\n")
    return culprit


def _edit(file: str, text: Callable[[str], str]) -> tuple[str, str]:
    return f"{Path(file).stem}.patch", patch(file, text, f"/* harmless: {file} */")


def patch(file: str, text: Callable[[str], str], more: str, *, after: str = "") -> str:
    """Return a patch that puts lines at the end of a file, or after one that it names."""
    old = text(file).splitlines(keepends=True)
    place = old.index(f"{after}\n") + 1 if after else len(old)
    new = [*old[:place], *f"{more}\n".splitlines(keepends=True), *old[place:]]
    diff = difflib.unified_diff(old, new, f"a/{file}", f"b/{file}")
    head = f"From: HGM Harness <hgm@localhost.invalid>\nSubject: [PATCH] {file}: one more line\n\n"
    return head + "".join(diff)


def reverted(forward: str) -> str:
    """Return the patch that takes back what `patch` made of one line at the end of a file."""
    head, mark, body = forward.partition("--- a/")
    lines = (mark + body).splitlines(keepends=True)
    last = lines.pop()
    assert last.startswith("+")
    lines.append("-" + last[1:])
    at = next(index for index, line in enumerate(lines) if line.startswith("@@ "))
    _, old, new, _ = lines[at].split(" ", 3)
    lines[at] = f"@@ -{new[1:]} +{old[1:]} @@\n"
    return head + "".join(lines)


def seeded(name: str) -> str:
    """Return the patch of a seeded fault that is made for the reference."""
    fault = faults.find(name)
    assert fault.on == REFERENCE
    return Path(fault.patch).read_text()
