# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests, built from its tree and run in a guest with that kernel."""

import json
from collections.abc import Callable
from pathlib import Path

from harness.probes import catalog
from tests.kernel.conftest import STOCK, Run

Hgm = Callable[..., Run]


def test_two_of_the_trees_own_tests_pass_and_a_skip_has_the_programs_words(hgm: Hgm) -> None:
    wanted = ("hugetlb-madvise", "map_fixed_noreplace", "test_hmm.sh")
    words = [word for name in wanted for word in ("--kselftest", f"mm:{name}")]
    run = hgm("run", "--kernel", STOCK, "--series", "none", *words, "--json")
    assert run.code == 0, run.err
    assert run.statuses() == {
        "kselftest/mm/hugetlb-madvise": "PASS",
        "kselftest/mm/map_fixed_noreplace": "PASS",
        "kselftest/mm/test_hmm.sh": "SKIP",
    }
    by_name = {probe["name"].rpartition("/")[2]: probe for probe in run.record["probes"]}
    assert "by its exit code" in by_name["hugetlb-madvise"]["reason"]
    assert len(by_name["map_fixed_noreplace"]["subtests"]) >= 5
    assert by_name["test_hmm.sh"]["reason"]
    directory = Path(run.record["run_dir"])
    evidence = json.loads(
        (directory / by_name["test_hmm.sh"]["directory"] / "evidence.json").read_text()
    )
    assert (evidence["exit_code"], evidence["rules"]) == (4, "kselftest")

    page = hgm("kselftest", "table", str(directory), str(directory))
    assert page.code == 0, page.err
    assert "| mm/hugetlb-madvise | PASS | PASS |" in page.out


_WITH_A_CHILD = """\
#!/bin/sh
echo ok 1 of the program
(sleep 2; echo ok 2 of its child) &
exit 1
"""


def test_what_a_test_leaves_to_a_child_is_waited_for(hgm: Hgm) -> None:
    program = (catalog.PROBES / "sh/kselftest.sh").read_text()
    script = "".join(
        f"cat >/tmp/{name} <<'END'\n{text}END\nchmod +x /tmp/{name}\n"
        for name, text in (("kselftest.sh", program), ("test", _WITH_A_CHILD))
    )
    words = ("guest", "shell", "--no-disk", "--kernel", STOCK, "--series", "none")
    run = hgm(*words, typed=f"{script}/tmp/kselftest.sh /tmp -- ./test\n")
    assert (run.code, run.out) == (1, "ok 1 of the program\nok 2 of its child\n")


def test_a_pool_that_cannot_be_had_is_a_skip_and_the_next_test_finds_its_own(hgm: Hgm) -> None:
    words = ("--kselftest", "mm:hugepage-mmap", "--kselftest", "mm:hugetlb_dio")
    few = ("--hugepages", "2M:4", "--memory", "300M")
    run = hgm("run", "--kernel", STOCK, "--series", "none", *words, *few, "--json")
    assert run.code == 0, run.err
    for probe in run.record["probes"]:
        assert probe["status"] == "SKIP", probe
        assert probe["reason"].startswith("needs 128 free huge pages of 2 MiB"), probe
