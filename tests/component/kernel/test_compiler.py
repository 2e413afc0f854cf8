# SPDX-License-Identifier: GPL-2.0-only
"""The compiler that Kbuild is given: real gcc through a real ccache."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.arch import host_arch
from harness.deadline import Deadline
from harness.kernel.make import Make

SOURCES = {
    "piggy.S": '.section .data\n.incbin "embedded"\n',
    "configs.c": 'asm(".section .data\\n.incbin \\"embedded\\"\\n");\n',
    "header.c": '#include "included.h"\nint value = VALUE;\n',
}


class Compiler:
    """What make would be told, over a cache of its own."""

    def __init__(self, directory: Path) -> None:
        limit = Deadline.after(60, "gcc")
        make = Make(directory, directory, limit, directory / "log", directory, host_arch())
        self._word = next(word for word in make.argv([]) if word.startswith("CC=")).removeprefix(
            "CC="
        )
        self._environment = {**os.environ, **make.environment()}
        self._directory = directory

    def compile(self, source: str) -> bytes:
        made = self._directory / "made.o"
        argv = [self._word, f"-Wp,-MMD,{made}.d", "-c", source, "-o", str(made)]
        self._run(argv)
        return made.read_bytes()

    def ask(self, *words: str) -> None:
        self._run([self._word, *words])

    def hits(self) -> int:
        counts = self._counts()
        return counts["direct_cache_hit"] + counts["preprocessed_cache_hit"]

    def ccache_was_called(self) -> bool:
        return self._counts()["stats_updated_timestamp"] != 0

    def _counts(self) -> dict[str, int]:
        lines = self._run(["ccache", "--print-stats"]).splitlines()
        return {name: int(count) for name, count in (line.split("\t") for line in lines)}

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(
            argv,
            env=self._environment,
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    return Compiler(tmp_path)


@pytest.mark.parametrize("source", ["piggy.S", "configs.c"])
def test_embedded_file_is_never_an_older_one(
    compiler: Compiler, tmp_path: Path, source: str
) -> None:
    (tmp_path / "embedded").write_text("older")
    compiler.compile(source)
    (tmp_path / "embedded").write_text("newer")
    assert b"newer" in compiler.compile(source)


def test_compiler_option_test_bypasses_ccache(compiler: Compiler) -> None:
    compiler.ask("-x", "c", "-c", "/dev/null", "-o", "/dev/null")
    assert not compiler.ccache_was_called()


def test_the_rest_is_compiled_once(compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "included.h").write_text("#define VALUE 1\n")
    first = compiler.compile("header.c")
    assert compiler.ccache_was_called()
    assert compiler.hits() == 0
    assert compiler.compile("header.c") == first
    assert compiler.hits() == 1
    (tmp_path / "included.h").write_text("#define VALUE 2\n")
    assert compiler.compile("header.c") != first
