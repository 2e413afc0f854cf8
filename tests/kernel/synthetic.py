# SPDX-License-Identifier: GPL-2.0-only
"""A long series over a real kernel, made here: harmless edits, the reference, and one fault in it.

Every harmless patch adds a comment to a file of mm/. Either two of them come first, then the
whole reference series, then harmless ones again, with the fault among them; or the reference comes
first, as one patch, and what switches it on comes late.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from harness.arch import host_arch
from harness.context import Context
from harness.deadline import Deadline
from harness.kernel import faults, registry
from harness.kernel.git import Store
from harness.kernel.obtain import KernelRequest, resolve_request
from harness.progress import Silent
from harness.workspace import Workspace

REFERENCE = "hgm-6.12"
_BEFORE = 2

_HEAD = "From: HGM Harness <hgm@localhost.invalid>\nSubject: [PATCH] one of a synthetic series\n\n"

# What makes MADV_SPLIT valid in the reference, and what a series that does so late has instead.
_OFFERED = "\tcase MADV_SPLIT:\n #endif\n"
_REFUSED = "\t/* no MADV_SPLIT yet */\n #endif\n"
_ENABLING = f"""{_HEAD}--- a/mm/madvise.c
+++ b/mm/madvise.c
@@ -1239,7 +1239,7 @@ madvise_behavior_valid(int behavior)
 \tcase MADV_COLLAPSE:
 #endif
 #ifdef CONFIG_HUGETLB_HIGH_GRANULARITY_MAPPING
-\t/* no MADV_SPLIT yet */
+{_OFFERED} \tcase MADV_DONTDUMP:
 \tcase MADV_DODUMP:
"""

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
    found = resolve_request(KernelRequest(source=source, arch=host_arch().name), context=context)
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
    edits = _edits(text)
    series = [next(edits) for _ in range(_BEFORE)]
    series += [(part.name, part.read_text()) for part in _reference()]
    after = total - len(series) - 1
    culprit = len(series) + after * 2 // 3 + 1
    series += itertools.islice(edits, after)
    series.insert(culprit - 1, ("fault.patch", fault))
    _quilt(directory, series)
    return culprit


def write_enabled_late(
    directory: Path,
    text: Callable[[str], str],
    fault: str,
    *,
    total: int,
    culprit: int,
    enabling: int,
) -> None:
    """Write a quilt series that switches the reference on with one line of a late patch.

    Args:
        directory: where to; made.
        text: returns a file of the source.
        fault: the patch with the fault; it goes on top of the reference.
        total: patches; the first one is the reference without that line.
        culprit: the number of the faulty one, from 2.
        enabling: the number of the one that switches on, after it.
    """
    whole = "".join(_diff(part.read_text()) for part in _reference())
    assert whole.count(f"+{_OFFERED}") == 1
    series = list(itertools.islice(_edits(text), total - 3))
    series.insert(0, ("reference.patch", _HEAD + whole.replace(f"+{_OFFERED}", f"+{_REFUSED}")))
    series.insert(culprit - 1, ("fault.patch", fault))
    series.insert(enabling - 1, ("enabling.patch", _ENABLING))
    _quilt(directory, series)


def _reference() -> list[Path]:
    directory = Path(registry.find(REFERENCE).directory)
    names = (directory / "series").read_text().split()
    return [directory / name for name in names]


def _diff(patch_text: str) -> str:
    """Return a patch without its mail."""
    return patch_text[patch_text.index("diff --git ") :]


def _quilt(directory: Path, series: Iterable[tuple[str, str]]) -> None:
    directory.mkdir()
    names = []
    for number, (name, patch) in enumerate(series, 1):
        names.append(f"s{number:02}-{name}")
        (directory / names[-1]).write_text(patch)
    (directory / "series").write_text("\n".join(names) + "\n")


def _edits(text: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield harmless patches, of one file after the other and then of each again."""
    for earlier in itertools.count():
        for file in _FILES:
            *before, more = (f"/* harmless: {file}{' again' * n} */" for n in range(earlier + 1))
            old = text(file) + "".join(f"{line}\n" for line in before)
            yield f"{Path(file).stem}.patch", patch(file, {file: old}.__getitem__, more)


def patch(file: str, text: Callable[[str], str], more: str, *, after: str = "") -> str:
    """Return a patch that puts lines at the end of a file, or after one that it names."""
    old = text(file).splitlines(keepends=True)
    place = old.index(f"{after}\n") + 1 if after else len(old)
    new = [*old[:place], *f"{more}\n".splitlines(keepends=True), *old[place:]]
    diff = difflib.unified_diff(old, new, f"a/{file}", f"b/{file}")
    return _HEAD + "".join(diff)


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
