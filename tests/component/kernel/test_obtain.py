# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from harness import cache, host
from harness.context import Context
from harness.errors import (
    CommandFailed,
    CompileError,
    ConfigError,
    HarnessError,
    InfrastructureError,
    NoSpace,
    SeriesError,
    SourceError,
    SpecError,
    ToolMissing,
)
from harness.kernel.obtain import KernelRequest, check_request, obtain, resolve_request
from harness.progress import Silent
from harness.records.kernel import Kernel
from tests.component.kernel.conftest import Obtain, run, unfinished

CONFIGURE = "allnoconfig"
HEADERS, BUILD = "headers_install", "headers_install bzImage"


def calls(log: Path) -> list[str]:
    """Return the targets of each call of the fake make."""
    return [" ".join(line.split()[3:]) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("module", ["requests", "liblore", "unidiff", "kconfiglib", "tarfile"])
def test_cached_kernel_needs_no_slow_import(module: str) -> None:
    loaded = f"import sys, harness.kernel.obtain; print({module!r} in sys.modules)"
    assert run(sys.executable, "-c", loaded, cwd=Path()).strip() == "False"


def test_build_then_cache(toy: Path, get: Obtain, make_log: Path, context: Context) -> None:
    built = get(f"tree:{toy}")
    assert not built.cached
    assert built.release == "6.12.7"
    assert built.configuration.hgm is False
    assert any("HIGH_GRANULARITY" in note for note in built.configuration.notes)
    for path in (built.image, built.vmlinux, built.config):
        assert Path(path).is_file()
    assert (Path(built.headers) / "linux/mman.h").is_file()
    again = get(f"tree:{toy}")
    assert again.cached
    assert (again.key, again.build_seconds) == (built.key, built.build_seconds)
    assert calls(make_log) == [CONFIGURE, HEADERS, BUILD]
    assert unfinished(context.workspace) == []


def test_edit_touches_only_the_edited_file(toy: Path, get: Obtain, context: Context) -> None:
    first = get(f"tree:{toy}")
    (worktree,) = (context.workspace.cache / "trees").iterdir()
    before = {p: p.lstat().st_mtime_ns for p in (worktree / "src").rglob("*.c")}
    (toy / "mm/hugetlb.c").write_text("int edited;\n")
    second = get(f"tree:{toy}")
    after = {p: p.lstat().st_mtime_ns for p in (worktree / "src").rglob("*.c")}
    changed = {p.name for p in before if before[p] != after[p]}
    assert changed == {"hugetlb.c"}
    assert second.key != first.key
    assert Path(second.image).read_text() == "int edited;\n"
    assert len(list((worktree / "src").glob(".build-*"))) == 1


def test_headers_are_ready_before_everything_is_compiled(
    toy: Path, make_log: Path, context: Context, tmp_path: Path
) -> None:
    ready: list[tuple[list[str], str]] = []

    def headers_ready(kernel: Kernel) -> None:
        assert "CONFIG_HUGETLBFS=y" in Path(kernel.config).read_text()
        header = Path(kernel.headers) / "linux/mman.h"
        ready.append((calls(make_log), header.read_text()))

    request = KernelRequest(source=f"tree:{toy}", arch="x86_64")

    def build() -> Kernel:
        log = tmp_path / "build.log"
        return obtain(request, context, build_log=log, headers_ready=headers_ready)

    build()
    assert ready == [([CONFIGURE, HEADERS], "/* uapi */\n")]
    build()  # from the cache
    (toy / "mm/hugetlb.c").write_text("int edited;\n")
    assert not build().cached
    assert calls(make_log) == [CONFIGURE, HEADERS, BUILD, BUILD]
    assert len(ready) == 1  # one changed file: make is asked once


def test_configured_again_only_if_kconfig_inputs_changed(
    toy: Path, get: Obtain, make_log: Path, context: Context
) -> None:
    def made(text: str) -> list[str]:
        before = len(calls(make_log))
        (toy / "mm/hugetlb.c").write_text(text)
        get(f"tree:{toy}")
        return calls(make_log)[before:]

    assert made("int first;\n") == [CONFIGURE, HEADERS, BUILD]
    assert made("int edited;\n") == [BUILD]
    old = (toy / "Kconfig").read_text()
    (toy / "Kconfig").write_text(f'{old}\nconfig NEW\n\tbool "new"\n')
    assert made("int with_new;\n") == [CONFIGURE, BUILD]
    (toy / "Kconfig").write_text(old)
    assert made("int back;\n") == [BUILD]

    (final,) = context.workspace.cache.glob("trees/*/src/.build-*/.config")
    right = final.read_text()
    final.write_text("# changed by hand\n")
    assert made("int edited_again;\n") == [BUILD]
    assert final.read_text() == right
    for kept in context.workspace.cache.glob("configs/*"):
        kept.write_text("")  # as after a loss of power
    for kept in context.workspace.cache.glob("sources/kconfig-*"):
        kept.write_text("")
    assert made("int after_that;\n") == [CONFIGURE, BUILD]
    assert final.read_text() == right


def test_a_comment_in_a_fragment_neither_configures_nor_builds(
    toy: Path, get: Obtain, make_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MAKE_REFUSES", "HUGETLB_HIGH_GRANULARITY_MAPPING MINE")
    path = tmp_path / "mine.config"
    path.write_text("CONFIG_MORE=y\n# hgm: optional\nCONFIG_MINE=y\n")
    first = get(f"tree:{toy}", "none", str(path))
    path.write_text("# Why.\nCONFIG_MORE=y\n# hgm: optional\nCONFIG_MINE=y\n")
    second = get(f"tree:{toy}", "none", str(path))
    assert (second.cached, second.key) == (True, first.key)
    assert calls(make_log) == [CONFIGURE, HEADERS, BUILD]
    assert f"CONFIG_MINE=y ({path}:3) is unknown" in first.configuration.notes[-1]
    assert f"CONFIG_MINE=y ({path}:4) is unknown" in second.configuration.notes[-1]


def test_requests_that_end_in_the_same_configuration_share_a_kernel(
    toy: Path, get: Obtain, make_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MAKE_REFUSES", "HUGETLB_HIGH_GRANULARITY_MAPPING MINE")
    first = get(f"tree:{toy}")
    path = tmp_path / "mine.config"
    path.write_text("# hgm: optional\nCONFIG_MINE=y\n")
    second = get(f"tree:{toy}", "none", str(path))
    assert (second.cached, second.key) == (True, first.key)
    assert calls(make_log) == [CONFIGURE, HEADERS, BUILD, CONFIGURE]
    assert first.configuration.features == ()
    assert second.configuration.features == (str(path),)
    assert len(second.configuration.notes) == len(first.configuration.notes) + 1

    path.write_text("CONFIG_MORE=y\n")
    third = get(f"tree:{toy}", "none", str(path))
    assert not third.cached
    path.write_text("CONFIG_MORE=y\n# hgm-debug-info: hugetlb\n")
    fourth = get(f"tree:{toy}", "none", str(path))
    assert not fourth.cached
    assert fourth.configuration.digest == third.configuration.digest
    assert len({kernel.key for kernel in (first, third, fourth)}) == 3


def test_configuration_that_make_changes_is_not_published(
    toy: Path, get: Obtain, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MAKE", "changed-config")
    with pytest.raises(CommandFailed, match="make changed the configuration"):
        get(f"tree:{toy}")
    assert not (context.workspace.cache / "kernels").exists()


def test_same_content_by_another_spec_is_cached(repository: Path, get: Obtain) -> None:
    built = get(f"tree:{repository}")
    found = get(f"git:{repository}@v1")
    assert found.cached
    assert found.key == built.key
    assert found.source.kind == "git"


def test_interrupted_switch_is_repaired(toy: Path, get: Obtain, context: Context) -> None:
    get(f"tree:{toy}")
    (worktree,) = (context.workspace.cache / "trees").iterdir()
    (worktree / "switching").touch()
    (worktree / "index.lock").touch()
    (worktree / "src/mm/stray.c").write_text("of the switch that was killed")
    (worktree / "src/mm/hugetlb.c").write_text("half")
    (toy / "mm/other.c").write_text("int edited;\n")
    built = get(f"tree:{toy}")
    assert not (worktree / "src/mm/stray.c").exists()
    assert Path(built.image).read_text() == (toy / "mm/hugetlb.c").read_text()


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("compile-error", CompileError, "mm/hugetlb.c:812:9: error: 'foo' undeclared"),
        ("disk-full", NoSpace, "no space left"),
        ("killed-compiler", CommandFailed, "the compiler was killed"),
    ],
)
def test_failed_build_says_why_and_leaves_nothing(
    toy: Path,
    get: Obtain,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    kind: type[HarnessError],
    expected: str,
) -> None:
    monkeypatch.setenv("FAKE_MAKE", mode)
    with pytest.raises(kind) as caught:
        get(f"tree:{toy}")
    assert caught.value.line().startswith(expected) or expected in caught.value.line()
    assert "build.log" in caught.value.line()
    assert (caught.value.seconds > 0) is (kind is CompileError)
    assert unfinished(context.workspace) == []
    assert not (context.workspace.cache / "kernels").exists()
    monkeypatch.setenv("FAKE_MAKE", "ok")
    assert not get(f"tree:{toy}").cached


DRIVER = """
import sys
from pathlib import Path
from harness.context import Context
from harness.deadline import Deadline
from harness.kernel.obtain import KernelRequest, obtain
from harness.progress import Silent
from harness.workspace import Workspace
context = Context(Workspace(Path(sys.argv[2])), Deadline.after(60, "x"), Silent())
obtain(KernelRequest(source=sys.argv[1], arch="x86_64"), context, build_log=Path(sys.argv[3]))
"""


def wait_for(path: Path, what: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while not list(path.glob("trees/*/src/.build-*/half.o")):
        assert time.monotonic() < end
        assert what.poll() is None
        time.sleep(0.02)


def test_killed_build_is_not_taken_for_finished(
    toy: Path, get: Obtain, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MAKE", "hang")
    root = context.workspace.cache
    argv = [sys.executable, "-c", DRIVER, f"tree:{toy}", str(root), str(tmp_path / "log")]
    with subprocess.Popen(argv) as driver:
        wait_for(root, driver)
        driver.send_signal(signal.SIGKILL)
    assert not (root / "kernels").exists()
    (half,) = root.glob("trees/*/src/.build-*/half.o")
    monkeypatch.setenv("FAKE_MAKE", "ok")
    assert not get(f"tree:{toy}").cached
    assert not half.exists()
    context.workspace.sweep()
    assert unfinished(context.workspace) == []


def test_build_interrupted_by_a_reboot_starts_from_scratch(
    toy: Path, get: Obtain, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MAKE", "killed-compiler")
    with pytest.raises(CommandFailed):
        get(f"tree:{toy}")
    (marker,) = context.workspace.cache.glob("trees/*/src/.build-*/.hgm-building")
    marker.write_text("another boot")
    (marker.parent / "old.h").touch()
    monkeypatch.setenv("FAKE_MAKE", "ok")
    get(f"tree:{toy}")
    assert not (marker.parent / "old.h").exists()
    assert not marker.exists()


def test_two_at_once_build_once(toy: Path, get: Obtain, make_log: Path) -> None:
    found: list[Kernel] = []
    threads = [threading.Thread(target=lambda: found.append(get(f"tree:{toy}"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kernel.cached for kernel in found) == [False, True, True]
    assert calls(make_log) == [CONFIGURE, HEADERS, BUILD]


def test_every_missing_symbol_is_named_with_its_dependency(
    toy: Path, get: Obtain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "HUGETLB_HIGH_GRANULARITY_MAPPING X86_MCE MEMORY_FAILURE USERFAULTFD MINE PROMPT"
    monkeypatch.setenv("FAKE_MAKE_REFUSES", refused)
    mine = tmp_path / "mine.config"
    mine.write_text("CONFIG_MINE=y\nCONFIG_PROMPT=y\n")
    with pytest.raises(ConfigError) as caught:
        get(f"tree:{toy}", "none", str(mine))
    line = caught.value.line()
    assert "\n" not in line
    # Required: the kernel does not know it, and that is an error.
    assert "CONFIG_USERFAULTFD=y (kernel-configs/required.config:" in line
    assert "is unknown to kernel 6.12.7 (the harness needs it: What is under test" in line
    # Of our own fragments, known to this kernel and lost: an error.
    assert "CONFIG_MEMORY_FAILURE=y (kernel-configs/base.config:" in line
    assert "became n: needs X86_MCE(=n)" in line
    # Of the user's: an error in any case.
    assert f"CONFIG_MINE=y ({mine}:1) is unknown to kernel 6.12.7" in line
    assert f"CONFIG_PROMPT=y ({mine}:2) became n: has no prompt" in line
    # Of our own fragments, and no kernel has to know it.
    assert "HIGH_GRANULARITY" not in line
    monkeypatch.setenv("FAKE_MAKE_REFUSES", "HUGETLB_HIGH_GRANULARITY_MAPPING PROC_SYSCTL")
    (toy / "mm/hugetlb.c").write_text("int edited;\n")
    with pytest.raises(ConfigError, match="MEMORY_FAILURE"):
        get(f"tree:{toy}", "none", str(mine))  # what Kconfig made of it is known
    proc, hgm = get(f"tree:{toy}").configuration.notes
    assert re.fullmatch(
        r"CONFIG_PROC_SYSCTL=y \(kernel-configs/base.config:\d+\) is unknown to kernel 6.12.7", proc
    )
    assert "CONFIG_HUGETLB_HIGH_GRANULARITY_MAPPING=y (kernel-configs/hgm.config:" in hgm


def test_kernel_config_prints_checks_or_explains_a_configuration(
    toy: Path, context: Context, make_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGM_CACHE", str(context.workspace.cache))
    mine = tmp_path / "mine.config"
    mine.write_text("CONFIG_MINE=y\n")

    def config(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "harness.cli", "kernel", "config", "--kernel", f"tree:{toy}"]
        log = ["--log", str(tmp_path / "log"), "--config", str(mine)]
        return subprocess.run([*argv, *log, *words], capture_output=True, text=True, check=False)

    printed = config()
    assert (printed.returncode, "CONFIG_MINE=y\n" in printed.stdout) == (0, True)
    checked = config("--check")
    asked, note = checked.stdout.splitlines()
    all_but_one = re.fullmatch(r"(\d+) of (\d+) requested symbols", asked)
    assert all_but_one is not None
    assert int(all_but_one[1]) + 1 == int(all_but_one[2])
    assert "HIGH_GRANULARITY_MAPPING=y (kernel-configs/hgm.config:3) is unknown to" in note
    assert checked.returncode == 0

    mine.write_text("CONFIG_MEMORY_FAILURE=y\nCONFIG_NEVER=y\n")
    monkeypatch.setenv("FAKE_MAKE_REFUSES", "NEVER HUGETLB_HIGH_GRANULARITY_MAPPING X86_MCE")
    refused = config("--check")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"CONFIG_NEVER=y ({mine}:2) is unknown to kernel 6.12.7" in refused.stderr
    assert "Traceback" not in refused.stderr
    explained = config("--explain", "CONFIG_MEMORY_FAILURE")  # of what is refused, too
    assert explained.stdout.splitlines()[0] == "CONFIG_MEMORY_FAILURE=n: needs X86_MCE(=n)"
    assert f"requested    CONFIG_MEMORY_FAILURE=y ({mine}:1)" in explained.stdout
    absent = config("--explain", "NEVER")
    assert (absent.returncode, absent.stdout) == (2, "")
    assert "this kernel has no symbol CONFIG_NEVER for x86_64" in absent.stderr
    assert calls(make_log) == [CONFIGURE, CONFIGURE]
    assert config("--kernel", "image:/none").returncode == 2


def test_feature_and_fragment_errors_come_before_any_work(
    toy: Path, get: Obtain, make_log: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="nonsense"):
        get(f"tree:{toy}", "none", "nonsense")
    (tmp_path / "bad.config").write_text("CONFIG=y\n")
    with pytest.raises(ConfigError, match=r"bad\.config:1"):
        get(f"tree:{toy}", "none", str(tmp_path / "bad.config"))
    assert calls(make_log) == []


def test_missing_tools_are_named_at_once(
    toy: Path, get: Obtain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    programs = {package.shown_by for package in host.packages()} - {"gcc", "bison"}
    for program in (*programs, "apt-get", "dpkg-deb"):
        if found := shutil.which(program):
            (few / program).symlink_to(found)
    monkeypatch.setenv("PATH", str(few))
    with pytest.raises(ToolMissing) as caught:
        get(f"tree:{toy}")
    assert "needs gcc, bison" in caught.value.line()
    assert "apt-get install -y --no-install-recommends gcc bison" in caught.value.line()


def test_prune_takes_the_idle_and_leaves_the_pinned(
    toy: Path, get: Obtain, context: Context
) -> None:
    first = get(f"tree:{toy}")
    (toy / "mm/hugetlb.c").write_text("int edited;\n")
    second = get(f"tree:{toy}")
    with cache.pin(Path(first.image).parent):
        gone = cache.prune(context.workspace, 0, Silent())
        assert Path(first.image).exists()
    assert not Path(second.image).exists()
    assert {entry.kind for entry in gone} == {"kernel", "config", "tree", "sources"}
    with (
        pytest.raises(InfrastructureError, match="not in the cache any more"),
        cache.pin(Path(second.image).parent),
    ):
        pass
    assert not get(f"tree:{toy}").cached
    assert unfinished(context.workspace) == []


def test_work_tree_in_use_is_not_pruned(toy: Path, get: Obtain, context: Context) -> None:
    get(f"tree:{toy}")
    (worktree,) = (context.workspace.cache / "trees").iterdir()
    with context.workspace.lock(f"trees/{worktree.name}", context.deadline, Silent()):
        gone = cache.prune(context.workspace, 0, Silent())
    assert "tree" not in {entry.kind for entry in gone}
    assert worktree.exists()


def test_limit_is_kept_after_a_build(
    toy: Path, get: Obtain, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = get(f"tree:{toy}")
    os.utime(Path(first.image).parent, (1, 1))
    sizes = {e.path: e.size for e in cache.entries(context.workspace)}
    monkeypatch.setenv("HGM_CACHE_LIMIT", str(sum(sizes.values())))
    (toy / "mm/hugetlb.c").write_text("int edited;\n")
    second = get(f"tree:{toy}")
    assert Path(second.image).exists()
    assert not Path(first.image).exists()


def test_sizes_are_remembered_until_they_may_have_changed(
    toy: Path, get: Obtain, context: Context
) -> None:
    kernel = Path(get(f"tree:{toy}").image).parent
    (worktree,) = (context.workspace.cache / "trees").iterdir()
    (build,) = worktree.glob("src/.build-*")

    def sizes(*, remembered: bool) -> dict[str, int]:
        found = cache.entries(context.workspace, remembered=remembered)
        return {entry.path: entry.size for entry in found}

    before = sizes(remembered=False)
    for grown in (kernel / "more", build / "more"):
        grown.write_bytes(b"x" * 1_000_000)
    assert sizes(remembered=True) == before
    (worktree / "src/.build-another").mkdir()
    assert sizes(remembered=True)[str(worktree)] > before[str(worktree)] + 900_000
    assert sizes(remembered=True)[str(kernel)] == before[str(kernel)]
    assert sizes(remembered=False)[str(kernel)] > before[str(kernel)] + 900_000
    (context.workspace.cache / "sizes.json").write_text("{torn")
    assert sizes(remembered=True)[str(kernel)] > before[str(kernel)] + 900_000


def test_commits_of_another_clone_are_built_in_the_same_work_tree(
    repository: Path, get: Obtain, context: Context, tmp_path: Path
) -> None:
    get(f"tree:{repository}")  # a developer's own tree has a worktree to itself
    get(f"git:{repository}@v1", "none", "debug")
    own, *shared = sorted(
        (context.workspace.cache / "trees").iterdir(),
        key=lambda worktree: (worktree / "offered").exists(),
    )
    assert len(shared) == 1
    clone = tmp_path / "clone"
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t.invalid")
    run(*git, "clone", "-q", str(repository), str(clone), cwd=tmp_path)
    (clone / "mm/other.c").write_text("int edited;\n")
    run(*git, "commit", "-q", "-a", "-m", "edited", cwd=clone)
    get(f"git:{clone}@HEAD")
    assert sorted((context.workspace.cache / "trees").iterdir()) == sorted([own, *shared])
    texts = [(worktree / "src/mm/other.c").read_text() for worktree in (own, *shared)]
    assert texts == ["int other;\n", "int edited;\n"]


def test_image_cannot_have_a_series_or_features(get: Obtain, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot change it"):
        get(f"image:{tmp_path}/bzImage", "none", "debug")


def _edit(file: str, old: str, new: str) -> str:
    return f"--- a/mm/{file}\n+++ b/mm/{file}\n@@ -1 +1 @@\n-int {old};\n+int {new};\n"


@pytest.mark.parametrize(
    ("first", "extra", "names"),
    [
        (1, ("3",), ["0001-x.patch", "0003-x.patch"]),
        (1, ("1", "FIX"), ["0001-x.patch", "fix.patch"]),
        (None, ("2", "FIX"), ["0001-x.patch", "0002-x.patch", "0003-x.patch", "fix.patch"]),
        (0, ("3", "FIX"), ["0003-x.patch", "fix.patch"]),
    ],
)
def test_extra_patches_are_put_on_top_once(
    toy: Path,
    context: Context,
    make_log: Path,
    tmp_path: Path,
    first: int | None,
    extra: tuple[str, ...],
    names: list[str],
) -> None:
    (tmp_path / "patches").mkdir()
    for number in range(1, 4):
        (toy / f"mm/{number}.c").write_text("int old;\n")
        text = _edit(f"{number}.c", "old", "new")
        (tmp_path / f"patches/000{number}-x.patch").write_text(text)
    fix = tmp_path / "fix.patch"
    fix.write_text(_edit("other.c", "other", "fixed"))
    request = KernelRequest(
        source=f"tree:{toy}",
        series=f"dir:{tmp_path}/patches",
        first=first,
        extra=tuple(word.replace("FIX", str(fix)) for word in extra),
        arch="x86_64",
    )
    kernel = obtain(request, context=context, build_log=tmp_path / "build.log")
    assert [patch.name for patch in kernel.series.patches] == names
    resolved = resolve_request(msgspec.structs.replace(request, first=None), context)
    assert len(resolved.patches) == 3
    assert [each.name for each in resolved.extra] == ["fix.patch"] * ("FIX" in extra)


@pytest.mark.parametrize(
    ("extra", "words"),
    [("0", "--with 0: the series has 0 patches"), ("/none.patch", "--with /none.patch: No such")],
)
def test_an_extra_patch_that_does_not_exist(
    context: Context, toy: Path, extra: str, words: str
) -> None:
    request = KernelRequest(source=f"tree:{toy}", extra=(extra,), arch="x86_64")
    with pytest.raises(SeriesError, match=words):
        check_request(request, context)


def test_only_the_tree_of_a_series_goes_into_the_key(
    toy: Path, context: Context, make_log: Path, tmp_path: Path
) -> None:
    diff = "--- a/mm/other.c\n+++ b/mm/other.c\n@@ -1 +1 @@\n-int other;\n+int changed;\n"
    for name, text in (("patches", f"words\n{diff}"), ("ported", diff)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0001-x.patch").write_text(text)
    request = KernelRequest(source=f"tree:{toy}", series=f"dir:{tmp_path}/patches", arch="x86_64")
    other = msgspec.structs.replace(request, resolve=f"{tmp_path}/ported", fuzz=True)
    first, second = (
        obtain(
            each,
            context=context,
            build_log=tmp_path / "build.log",
        )
        for each in (request, other)
    )
    assert (first.cached, second.cached) == (False, True)
    assert first.key == second.key
    assert first.series.patches[0].resolved == ""
    assert second.series.patches[0].resolved == f"{tmp_path}/ported/0001-x.patch"
    assert second.series.patches[0].replaces == first.series.patches[0].digest
