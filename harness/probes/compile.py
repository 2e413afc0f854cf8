# SPDX-License-Identifier: GPL-2.0-only
"""Compile probes on the host, each once per content, into programs that need nothing of the guest.

A C probe becomes one static binary in the cache, at ``probes/KEY/STEM``. It is ``c/STEM.c`` and,
where there is such a directory, the files of ``c/STEM/``, linked with the objects of the library in
``c/lib``, which are at ``probes/KEY`` as well. A key is made of everything that can change what is
there: the sources, the library, the flags, the compiler with its C library, and the UAPI headers.
Those are hashed by content rather than by kernel, so that a kernel whose headers did not change
needs no probe compiled again.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import cache, command
from harness.arch import USUAL_PAGE, Arch, arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CompileError, ToolMissing
from harness.probes import catalog
from harness.records.kernel import Kernel
from harness.records.probe import ProbeSpec
from harness.workspace import Workspace, atomic_write, digest, file_digest

#: The variable of ``probes/Makefile`` that has the compiler's flags, and its continued lines.
_FLAGS = re.compile(r"^PROBE_CFLAGS = ((?:.*\\\n)*.*)$", re.MULTILINE)

#: The harness needs them in every guest: they print the features of the running kernel, the speed
#: of the guest, and the kernel's counters of huge pages; the last renews a restored guest.
ALWAYS = ("c/features.c", "c/calibrate.c", "c/counters.c", "c/renew.c")

#: What Python probes import.
_PYTHON_LIBRARY = "python/hgm_probe.py"

#: Files of the host whose replacement may change what the compiler makes: the C library's and the
#: kernel's headers, below the directory of the compiler's headers. A package manager gives each
#: new version a new time.
_HOST_FILES = ("features.h", "linux/version.h")

#: ``file.c:12:34: error: ...`` of the compiler, ``file.c:12: undefined reference`` of the linker.
_ERROR = re.compile(r"^.*(?:(?:fatal )?error:|undefined reference).*$", re.MULTILINE)


@dataclass(frozen=True)
class _Job:
    """One run of the compiler, which writes into the directory that it starts in.

    Attributes:
        argv: the compiler's.
        directory: where in the cache its output belongs.
    """

    argv: tuple[str, ...]
    directory: Path


@dataclass(frozen=True)
class _Jobs:
    """The library, and what is linked with it: programs by name."""

    library: _Job
    programs: Mapping[str, _Job]


def compile_probes(
    specs: Iterable[ProbeSpec], context: Context, *, kernel: Kernel, log: Path
) -> Mapping[str, Path]:
    """Return what belongs into the guest's ``/probes`` for these probes, by file name there.

    A C probe's file is a static binary, named by its source's stem; a Python probe's is its source,
    checked for syntax, with ``hgm_probe.py`` beside it. The programs of `ALWAYS` are always among
    them.

    Args:
        specs: the probes; several may share a source.
        kernel: whose UAPI headers are used; the host's where it has none.
        context: cache, deadline, progress.
        log: the file to which the compiler's output is appended.

    Raises:
        CompileError: if a source is absent or does not compile; carries the first error's line.
        ToolMissing: if there is no compiler.
        DeadlineExpired: if it took too long.
    """
    sources = {spec.source for spec in specs} | set(ALWAYS)
    scripts = sorted(source for source in sources if source.endswith(".py"))
    if scripts:
        scripts.append(_PYTHON_LIBRARY)
    shell = sorted(source for source in sources if source.endswith(".sh"))
    jobs = _jobs(sorted(sources.difference(scripts, shell)), kernel, context.workspace)
    checked = [
        *(_check_python(script) for script in scripts),
        *(catalog.PROBES / name for name in shell),
    ]
    _compile_missing(jobs, context, log)
    for job in (jobs.library, *jobs.programs.values()):
        cache.touch(job.directory)
    programs = {name: job.directory / name for name, job in jobs.programs.items()}
    return programs | {path.name: path for path in checked}


def needed_by(spec: ProbeSpec, programs: Iterable[str]) -> set[str]:
    """Return which of the files in ``/probes`` a guest needs that runs only this probe.

    A test of the kernel's own may need any of them.
    """
    if spec.rules == "kselftest":
        return set(programs)
    source = Path(spec.source)
    if spec.language == "c":
        return {source.stem}
    return {source.name, Path(_PYTHON_LIBRARY).name} & set(programs)


def flags() -> tuple[str, ...]:
    """Return the compiler's flags: those of ``probes/Makefile``, and warnings are errors.

    Raises:
        CompileError: if the Makefile is absent or does not set them.
    """
    makefile = catalog.PROBES / "Makefile"
    found = _FLAGS.search(_read(makefile).decode())
    if found is None:
        raise CompileError(f"{makefile}: sets no PROBE_CFLAGS")
    return (*found[1].replace("\\\n", " ").split(), "-Werror")


def first_error(output: str) -> str:
    """Return the line of the first error in a compiler's or linker's output; else the last line."""
    found = _ERROR.search(output)
    if found:
        return found.group().strip()
    lines = output.strip().splitlines()
    return lines[-1].strip() if lines else "the compiler printed nothing"


def _jobs(names: Sequence[str], kernel: Kernel, workspace: Workspace) -> _Jobs:
    """Return the library's job, and one a probe; the key of each is in its path."""
    directory = catalog.PROBES / "c"
    library = sorted(directory.glob("lib/*.c"))
    headers_of_library = (directory / "hgm_probe.h", *sorted(directory.glob("lib/*.h")))
    options = flags()
    guest = arch(kernel.arch)
    headers = ("-isystem", kernel.headers) if kernel.headers else ()
    tells = guest.base_pages and kernel.config
    config = _read(Path(kernel.config)).decode(errors="replace") if tells else ""
    if (page := guest.base_page(config)) != USUAL_PAGE:
        options = (*options, f"-DBASE_PAGE={page}UL")
    common = digest(
        *options,
        host_identity(guest),
        headers_digest(kernel, workspace),
        *(part for file in (*headers_of_library, *library) for part in _named(file)),
    )
    compiler = (f"{guest.cross}gcc", *options, *headers, f"-I{directory}")
    room = workspace.cache / "probes"
    objects = _Job((*compiler, "-c", *map(str, library)), room / digest(common, "library"))
    linked = [str(objects.directory / f"{file.stem}.o") for file in library]
    programs = {}
    for name in names:
        files, stem = catalog.files(name), Path(name).stem
        key = digest(common, *(part for file in files for part in _named(file)))
        compiled = [str(file) for file in files if file.suffix == ".c"]
        programs[stem] = _Job((*compiler, *compiled, *linked, "-o", stem), room / key)
    return _Jobs(objects, programs)


def _named(file: Path) -> tuple[str, bytes]:
    return file.name, _read(file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CompileError(f"{file}: {error.strerror}", hint="it is needed to compile") from None


def host_identity(guest: Arch, *more: str) -> str:
    """Return what changes when the compiler or the host's headers do, without running them.

    Args:
        guest: the architecture that is compiled for.
        more: paths of further files of the host that matter.
    """
    name = f"{guest.cross}gcc"
    compiler = shutil.which(name)
    if compiler is None:
        raise ToolMissing(
            f"the program {name} is not installed",
            hint=f"`hgm doctor --arch {guest.kernel}` prints the command that installs it",
        )
    include = "/usr/include" if guest.is_hosts else f"/usr/{guest.triplet}/include"
    files = (compiler, *(f"{include}/{name}" for name in _HOST_FILES), *more)
    return "\n".join(_stat_identity(Path(path)) for path in files)


def _stat_identity(path: Path) -> str:
    real = path.resolve()
    if not real.exists():
        return f"{real} absent"
    stat = real.stat()
    return f"{real} {stat.st_size} {stat.st_mtime_ns}"


def headers_digest(kernel: Kernel, workspace: Workspace) -> str:
    """Return the digest of the kernel's UAPI headers; kept, as those of one key never change."""
    if not kernel.headers:
        return "host"
    memory = workspace.room("probes") / f"headers-{digest(kernel.key, kernel.headers)}"
    if memory.exists():
        return memory.read_text()
    root = Path(kernel.headers)
    files = sorted(path for path in root.rglob("*.h") if path.is_file())
    if not files:
        raise CompileError(f"{root}: the kernel's headers are not there", hint="build it again")
    whole = digest(*(part for f in files for part in (str(f.relative_to(root)), file_digest(f))))
    atomic_write(memory, whole)
    return whole


def _compile_missing(jobs: _Jobs, context: Context, log: Path) -> None:
    missing = [job for job in jobs.programs.values() if not job.directory.exists()]
    if not missing:
        return
    if not jobs.library.directory.exists():
        _compile(jobs.library, context.workspace, context.deadline, log)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [
            pool.submit(_compile, job, context.workspace, context.deadline, log) for job in missing
        ]
        try:
            for done, _ in enumerate(concurrent.futures.as_completed(running), 1):
                context.progress.step(done, len(missing), "probes")
            for (
                one
            ) in running:  # in order, so that the same one of many errors is reported each time
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _compile(job: _Job, workspace: Workspace, deadline: Deadline, log: Path) -> None:
    with workspace.unfinished("probe") as directory:
        done = command.run(job.argv, deadline, cwd=directory, ok=None)
        output = done.stdout + done.stderr
        append(log, f"$ {' '.join(job.argv)}\n{output}")
        if done.exit_code != 0:
            raise CompileError(first_error(output), command=job.argv, log=log)
        workspace.publish(directory, job.directory)


def append(log: Path, text: str) -> None:
    """Append in one write, so that the outputs of several compilers do not mix."""
    with log.open("ab", buffering=0) as file:
        file.write(text.encode())


def _check_python(name: str) -> Path:
    path = catalog.PROBES / name
    try:
        compile(_read(path), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise CompileError(f"{path}:{line}: {error.args[0]}") from None
    return path
