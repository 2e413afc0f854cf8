# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests are taken out of a tree, built once, and what does not compile is said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SourceError, SpecError
from harness.kernel.git import Store
from harness.probes import kselftest, selftests
from harness.probes.kselftest import Suite
from harness.progress import Silent
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.workspace import Workspace

HELLO = '#include <stdio.h>\n#include "../kselftest.h"\nint main(void) { puts(WORD); return 0; }\n'

#: As small as a Makefile can be that uses the kernel's names and its way to list what it builds.
MAKEFILE = """\
CFLAGS = $(EXTRA_CFLAGS) $(KHDR_INCLUDES)
TEST_GEN_FILES = cow broken
TEST_GEN_PROGS = stress
TEST_PROGS := run_vmtests.sh ksft_cow.sh
TEST_FILES := limits.sh
TEST_GEN_FILES := $(patsubst %,$(OUTPUT)/%,$(TEST_GEN_FILES))
$(OUTPUT)/%: %.c
\t$(CC) $(CFLAGS) $^ -o $@
"""

TREE = {
    "tools/testing/selftests/kselftest.h": '#define WORD "from the tree"\n',
    "tools/testing/selftests/mm/Makefile": MAKEFILE,
    "tools/testing/selftests/mm/cow.c": HELLO,
    "tools/testing/selftests/mm/stress.c": HELLO,
    "tools/testing/selftests/mm/broken.c": "int main(void) { return NO_SUCH_WORD; }\n",
    "tools/testing/selftests/mm/run_vmtests.sh": "run_test ./cow\nrun_test ./lost\n",
    "tools/testing/selftests/mm/ksft_cow.sh": "./run_vmtests.sh -t cow\n",
    "tools/testing/selftests/mm/limits.sh": "#!/bin/sh\n. ../kselftest/ktap_helpers.sh\n",
    "tools/testing/selftests/kselftest/ktap_helpers.sh": "",
    "mm/unrelated.c": "int x;\n",
}

Obtain = Callable[..., Suite]


def stored(tmp_path: Path, files: dict[str, str]) -> str:
    """Put a tree into the cache's object store and return its ID."""
    work = tmp_path / "linux"
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    deadline = Deadline.after(60, "the test")
    store = Store.of(Context(Workspace(tmp_path / "cache"), deadline, Silent()))
    index = tmp_path / "index"
    store.git(["add", "-A"], deadline, index=index, work_tree=work)
    return store.git(["write-tree"], deadline, index=index, work_tree=work).stdout.strip()


@pytest.fixture
def obtain(tmp_path: Path) -> Obtain:
    """Return `selftests.obtain` for a tree of these files, with a cache of the test's own."""

    def call(*wishes: str, changed: dict[str, str] | None = None, files: object = None) -> Suite:
        tree = stored(tmp_path, files if isinstance(files, dict) else {**TREE, **(changed or {})})
        kernel = Kernel(
            key="k",
            release="6.12.0",
            image="/nowhere/bzImage",
            source=SourceIdentity(spec="tree:x", kind="tree", origin="x", tree=tree),
            series=SeriesIdentity(spec="none", tree=tree),
            configuration=ConfigIdentity(),
        )
        return selftests.obtain(
            wishes,
            kernel=kernel,
            context=Context(
                Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent()
            ),
            log=tmp_path / "kselftest.log",
        )

    return call


def test_programs_are_static_and_run_and_scripts_come_along(obtain: Obtain) -> None:
    suite = obtain("mm")
    names = {spec.name: spec.unmet for spec in suite.specs}
    assert {name for name, unmet in names.items() if not unmet} == {
        "kselftest/mm/cow",
        "kselftest/mm/limits.sh",
        "kselftest/mm/stress",
    }
    assert set(suite.programs) == {
        *(f"kselftest/mm/{name}" for name in ("cow", "stress", "limits.sh")),
        "kselftest/kselftest/ktap_helpers.sh",
    }
    cow = suite.programs["kselftest/mm/cow"]
    run = subprocess.run(["ldd", cow], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in run.stderr
    assert "uffd-unit-tests" in suite.notes[0]
    assert suite.notes[1:] == (
        "kselftest/mm: run_vmtests.sh runs, and the Makefile does not build or list: lost",
        "kselftest/mm: the Makefile lists, and run_vmtests.sh does not run: "
        "broken, limits.sh, stress",
    )
    assert obtain("mm:cow").notes == ()


def test_output_is_there_before_a_program_is_killed(obtain: Obtain) -> None:
    text = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("early"); _exit(0); }\n'
    suite = obtain("mm:cow", changed={"tools/testing/selftests/mm/cow.c": text})
    program = suite.programs["kselftest/mm/cow"]
    program.chmod(0o700)  # the cache keeps contents, and the guest's archive gives them their mode
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"early\n"


def test_what_does_not_compile_is_a_skip_with_the_compilers_reason(obtain: Obtain) -> None:
    (spec,) = obtain("mm:broken").specs
    assert spec.unmet.startswith("does not compile: broken.c:1:")
    assert "NO_SUCH_WORD" in spec.unmet


def test_nothing_is_built_twice(obtain: Obtain, tmp_path: Path) -> None:
    first = obtain("mm")
    said = (tmp_path / "kselftest.log").read_text()
    assert obtain("mm") == first
    unrelated = obtain("mm", changed={"mm/unrelated.c": "int y;\n"})
    assert unrelated == first
    assert (tmp_path / "kselftest.log").read_text() == said
    header = {"tools/testing/selftests/kselftest.h": '#define WORD "changed"\n'}
    assert obtain("mm", changed=header).programs != first.programs


def test_the_older_directory_is_found(obtain: Obtain) -> None:
    older = {name.replace("selftests/mm", "selftests/vm"): text for name, text in TREE.items()}
    suite = obtain("mm:cow", files=older)
    assert [spec.name for spec in suite.specs] == ["kselftest/mm/cow"]


def test_a_tree_without_such_tests(obtain: Obtain) -> None:
    with pytest.raises(SourceError, match="has no tools/testing/selftests/mm or"):
        obtain("mm", files={"mm/unrelated.c": ""})
    with pytest.raises(SpecError, match="mm:nonesuch matches no test"):
        obtain("mm:nonesuch")


def test_the_shipped_table_needs_no_library_to_be_read() -> None:
    assert kselftest.load()["mm"].directories == ("mm", "vm")
