# SPDX-License-Identifier: GPL-2.0-only
"""Probes compile without a warning, once, and say what is wrong where they do not."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from harness.arch import host_arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CompileError, DeadlineExpired, ToolMissing
from harness.probes import catalog
from harness.probes import compile as programs
from harness.probes.compile import compile_probes
from harness.progress import Silent
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.probe import ProbeSpec
from harness.workspace import Workspace
from tests.component.probes.conftest import Make

Compile = Callable[..., Mapping[str, Path]]

COUNTING_GCC = Path(__file__).parent / "counting-gcc"


def kernel(key: str = "k", headers: Path | None = None, config: Path | None = None) -> Kernel:
    return Kernel(
        key=key,
        config=str(config or ""),
        release="6.12.0",
        image="/nowhere/bzImage",
        headers=str(headers or ""),
        source=SourceIdentity(spec="image:x", kind="image", origin="x"),
        series=SeriesIdentity(spec="none"),
        configuration=ConfigIdentity(),
    )


def spec(source: str) -> ProbeSpec:
    language = "python" if source.endswith(".py") else "c"
    return ProbeSpec(name=f"test/{source}", shows="x", source=source, language=language)  # type: ignore[arg-type]


@pytest.fixture
def build(tmp_path: Path) -> Compile:
    """Return `compile_probes` with a cache and a log of the test's own."""

    def compile_sources(
        *sources: str, of: Kernel | None = None, seconds: float = 600
    ) -> Mapping[str, Path]:
        return compile_probes(
            [spec(source) for source in sources],
            kernel=of or kernel(),
            context=Context(
                Workspace(tmp_path / "cache"),
                Deadline.after(seconds, "compiling the probes"),
                Silent(),
            ),
            log=tmp_path / "probes.log",
        )

    return compile_sources


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the guest's sources that a test may damage."""
    copy = tmp_path / "guest"
    shutil.copytree(catalog.PROBES, copy)
    monkeypatch.setattr(catalog, "PROBES", copy)
    return copy


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Put a compiler that counts its calls into the PATH, and return how to read the count."""
    real = shutil.which("gcc")
    context = tmp_path / "tools"
    context.mkdir()
    (context / "gcc").symlink_to(COUNTING_GCC)
    count = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{context}:{os.environ['PATH']}")
    monkeypatch.setenv("COUNTING_GCC_FILE", str(count))
    monkeypatch.setenv("COUNTING_GCC_REAL", str(real))
    return lambda: len(count.read_text().splitlines()) if count.exists() else 0


def test_make_and_the_harness_use_one_compiler_line(
    build: Compile, make: Make, tmp_path: Path
) -> None:
    """`make -C probes` builds all of them in test_make.py; here is one that has more files."""
    files = build("c/random_ops.c")
    assert os.access(files["random_ops"], os.X_OK)
    log = (tmp_path / "probes.log").read_text().splitlines()
    target = f"{tmp_path}/random_ops"
    printed = make("-nB", f"OUTPUT={tmp_path}", target).stdout.splitlines()
    probes = f"{catalog.PROBES}/"
    for compiled in ("c/random_ops.c", "c/lib/uffd.c"):
        (ours,) = (line.split()[1:] for line in log if f"/{compiled} " in line)
        (theirs,) = (line.split() for line in printed if f" {compiled} " in line)
        flags = [word for word in theirs if not word.endswith(FILES)]
        assert [word.replace(probes, "") for word in ours if not word.endswith(FILES)] == flags
        assert "-Werror" in flags


def test_every_python_probe_is_in_the_catalogue(build: Compile) -> None:
    sources = {spec.source for spec in catalog.load() if spec.language == "python"}
    files = {path.name for path in build(*sources).values() if path.suffix == ".py"}
    assert files == {path.name for path in catalog.PROBES.glob("python/*.py")}


#: Ends of the words for what is compiled and what is made, whose places differ.
FILES = (".c", ".o", "random_ops", "-o")

ALWAYS = {"calibrate", "features", "counters", "renew"}


def test_programs_for_features_speed_and_accounting_are_always_built(build: Compile) -> None:
    assert set(build()) == ALWAYS


def test_a_python_probe_brings_its_library(build: Compile) -> None:
    assert set(build("python/postcopy.py")) == {*ALWAYS, "postcopy.py", "hgm_probe.py"}


#: Calls of the compiler for the library, once, and for the programs that are always there.
COMMON = 1 + len(ALWAYS)


def test_what_is_cached_calls_no_compiler(build: Compile, calls: Callable[[], int]) -> None:
    first = build("c/split.c", "c/smaps.c")
    assert calls() == COMMON + 2
    assert build("c/split.c", "c/smaps.c") == first
    assert calls() == COMMON + 2


def test_a_changed_source_is_compiled_again_and_the_others_are_not(
    build: Compile, calls: Callable[[], int], sources: Path
) -> None:
    build("c/split.c", "c/smaps.c")
    with (sources / "c/split.c").open("a") as file:
        file.write("/* edited */\n")
    build("c/split.c", "c/smaps.c")
    assert calls() == COMMON + 3


@pytest.mark.parametrize("name", ["c/hgm_probe.h", "c/lib/uffd.c"])
def test_a_changed_library_compiles_all_again(
    build: Compile, calls: Callable[[], int], sources: Path, name: str
) -> None:
    build("c/split.c")
    with (sources / name).open("a") as file:
        file.write("/* edited */\n")
    build("c/split.c")
    assert calls() == 2 * (COMMON + 1)


def test_a_probe_of_several_sources_is_one_binary(
    build: Compile, calls: Callable[[], int], sources: Path
) -> None:
    (sources / "c/split").mkdir()
    (sources / "c/split/limits.h").write_text("#define LIMIT 7\nint limit(void);\n")
    (sources / "c/split/limits.c").write_text(
        '#include "limits.h"\nint limit(void) { return LIMIT; }\n'
    )
    with (sources / "c/split.c").open("a") as file:
        file.write('#include "split/limits.h"\nint (*needs_it)(void) = limit;\n')
    first = build("c/split.c", "c/smaps.c")["split"]
    assert calls() == COMMON + 2
    (sources / "c/split/limits.h").write_text("#define LIMIT 8\nint limit(void);\n")
    assert build("c/split.c", "c/smaps.c")["split"] != first
    assert calls() == COMMON + 3


def test_headers_count_by_their_content(
    build: Compile, calls: Callable[[], int], tmp_path: Path
) -> None:
    """A kernel that differs in mm/ alone must not cost a compilation."""
    for number, text in enumerate(("#define ONE 1\n", "#define ONE 1\n", "#define ONE 2\n")):
        headers = tmp_path / f"headers{number}"
        headers.mkdir()
        (headers / "one.h").write_text(text)
        build("c/split.c", of=kernel(f"k{number}", headers))
        assert calls() == (1, 1, 2)[number] * (COMMON + 1)


def test_the_kernels_headers_come_before_the_hosts(build: Compile, tmp_path: Path) -> None:
    headers = tmp_path / "include"
    (headers / "linux").mkdir(parents=True)
    (headers / "linux" / "userfaultfd.h").write_text('#error "the kernel\'s own"\n')
    with pytest.raises(CompileError, match="the kernel's own"):
        build("c/split.c", of=kernel("k", headers))


def test_the_configuration_says_how_large_a_base_page_is(
    build: Compile, sources: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    guest = msgspec.structs.replace(host_arch(), base_pages={"PAGES_OF_64K": 65536})
    monkeypatch.setattr(programs, "arch", lambda name: guest)
    (sources / "c/split.c").write_text(
        '#include "hgm_probe.h"\n'
        '_Static_assert(BASE_PAGE == 65536, "a base page");\n'
        "int main(void) { return 0; }\n"
    )
    config = tmp_path / "config"
    config.write_text("CONFIG_PAGES_OF_64K=y\n")
    build("c/split.c", of=kernel(config=config))
    config.write_text("# CONFIG_PAGES_OF_64K is not set\n")
    with pytest.raises(CompileError, match="a base page"):
        build("c/split.c", of=kernel(config=config))


def test_headers_that_are_gone_are_an_error(build: Compile, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="headers are not there"):
        build("c/split.c", of=kernel("k", tmp_path / "gone"))


def test_a_compile_error_is_one_line_with_the_log(
    build: Compile, sources: Path, tmp_path: Path
) -> None:
    with (sources / "c/split.c").open("a") as file:
        file.write("int broken(void) { return nonesuch; }\n")
    with pytest.raises(CompileError) as caught:
        build("c/split.c")
    assert "c/split.c:" in caught.value.message
    assert "nonesuch" in caught.value.message
    assert " error: " in caught.value.message
    assert caught.value.log == tmp_path / "probes.log"
    assert "nonesuch" in (tmp_path / "probes.log").read_text()
    assert not list((tmp_path / "cache" / "probes").glob("*/split"))
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_a_warning_is_an_error(build: Compile, sources: Path) -> None:
    with (sources / "c/split.c").open("a") as file:
        file.write("static int unused_function(void) { return 0; }\n")
    with pytest.raises(CompileError, match="unused_function"):
        build("c/split.c")


@pytest.mark.parametrize("name", ["c/split.c", "python/postcopy.py"])
def test_an_absent_source_is_an_error(build: Compile, sources: Path, name: str) -> None:
    (sources / name).unlink()
    with pytest.raises(CompileError, match=f"{name}: No such file"):
        build(name)


@pytest.mark.parametrize("text", [b"def broken(:\n", b"\x00\n", b"\xff\n"])
def test_a_python_probe_with_a_syntax_error(build: Compile, sources: Path, text: bytes) -> None:
    (sources / "python/postcopy.py").write_bytes(text)
    with pytest.raises(CompileError, match=r"python/postcopy\.py:1: "):
        build("python/postcopy.py")


def test_no_compiler_is_named(build: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolMissing, match="gcc is not installed"):
        build("c/split.c")


def test_a_deadline_ends_the_compilers_and_leaves_nothing(build: Compile, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExpired):
        build("c/split.c", seconds=0)
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    assert "split" in build("c/split.c")
