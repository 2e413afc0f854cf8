# SPDX-License-Identifier: GPL-2.0-only
"""The documentation: its links resolve, its commands are commands, its names are names."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from harness import pytest_plugin
from harness.cli.main import hgm
from harness.probes import catalog
from tests import commands_page

ROOT = Path(__file__).parents[2]

#: Everything that tells a user what to type. What is in docs/results was typed once, and stays.
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "kernel-patches").glob("*.md"),
        *(ROOT / "probes").glob("*.md"),
    ]
)
GUIDES = [page for page in PAGES if page.parent.name != "results" and page.name != "CHANGELOG.md"]

_FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_INLINE = re.compile(r"`(?:\./)?(hgm(?:-harness)? [^`]+)`")

_PROGRAMS = ("hgm", "hgm-harness")
_BEFORE = (["git", "bisect", "run"],)
_OPERATORS = {"|", "||", "&", "&&", ";", "(", ")"}

#: Names that a page makes up: the reader's own probe, or what stands for any name.
_PLACEHOLDER = re.compile(r"[A-Z_/*-]+|(hgm/|build/)?two[-_]pages.*")


class Wrong(Exception):
    """What is wrong with a command in the documentation."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each fenced block."""
    for _, language, text in _FENCE.findall(page.read_text()):
        yield language, text


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub and GitLab make of a page's headings."""
    plain = (re.sub(r"[`*]", "", text).lower() for text in _HEADING.findall(prose_of(page)))
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in plain}


def broken_links(page: Path) -> Iterator[str]:
    for target in _LINK.findall(prose_of(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors_of(file):
            yield f"{target}: no such heading"


def lines_of(language: str, text: str) -> list[str]:
    """Return the commands in a fenced block: all of ``sh``, what follows a ``$`` in ``console``."""
    joined = text.replace("\\\n", " ").splitlines()
    if language == "sh":
        return [line for line in joined if line.strip()]
    if language == "console":
        return [line[2:] for line in joined if line.startswith(("$ ", "# "))]
    return []


def commands_of(line: str) -> list[list[str]]:
    """Return the simple commands of a line of shell, without assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    is_target = False
    for word in lexer:
        if word in _OPERATORS:
            found.append([])
        elif set(word) <= set("<>&"):
            is_target = True
            if found[-1][-1:] == ["2"]:  # of 2>&1
                found[-1].pop()
        elif is_target:
            is_target = False
        elif found[-1] or not re.match(r"\w+=", word):
            found[-1].append(word)
    return [words for words in found if words]


def arguments_of(words: list[str]) -> list[str] | None:
    """Return what the harness gets if a simple command calls it, else None."""
    for prefix in _BEFORE:
        if words[: len(prefix)] == prefix:
            words = words[len(prefix) :]
    return words[1:] if words and Path(words[0]).name in _PROGRAMS else None


def parse(arguments: list[str]) -> dict[str, Any]:
    """Return the parameters that the command which is meant takes from its arguments.

    Raises:
        Wrong: if the command or an option of it is unknown, or something is missing.
    """
    command: click.Command = hgm
    try:
        while isinstance(command, click.Group):
            with command.make_context(command.name, list(arguments)) as context:
                pass
            _, found, arguments = command.resolve_command(context, arguments)
            assert found is not None
            command = found
        return command.make_context(command.name, arguments).params
    except click.exceptions.Exit:  # --help, --version
        return {}
    except click.ClickException as error:
        raise Wrong(error.format_message()) from None


def parse_mention(words: list[str]) -> None:
    """Look at a command that a sentence names, which need not have its arguments.

    Raises:
        Wrong: if the command or an option of it is unknown.
    """
    command: click.Command = hgm
    for word in words:
        if word.startswith("-"):
            known = {name for option in command.params for name in option.opts}
            if word.partition("=")[0] not in known | {"--help", "-h"}:
                raise Wrong(f"No such option: {word}")
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is None:
                raise Wrong(f"No such command '{word}'")
            command = found


def wrong_names(values: dict[str, Any]) -> Iterator[str]:
    """Yield the probes, features and series in a command's options that do not exist."""
    probes = values.get("probes")
    for glob in probes if isinstance(probes, tuple) else ():  # of `bench report` it is a number
        if _PLACEHOLDER.fullmatch(glob):
            continue
        if not any(catalog.matches(spec.name, glob) for spec in catalog.load()):
            yield f"--probe {glob}"
    for name in values.get("features") or ():
        if "/" not in name and not (ROOT / "kernel-configs" / f"{name}.config").exists():
            yield f"--config {name}"
    if not _is_series(values.get("series") or "none"):
        yield f"--series {values['series']}"


def _is_series(spec: str) -> bool:
    kind, _, name = spec.rpartition(":")
    if kind in ("", "fault"):
        file = "faults/faults.toml" if kind else "series.toml"
        known = tomllib.loads((ROOT / "kernel-patches" / file).read_text())
        return name in (*known, "none") or _PLACEHOLDER.fullmatch(name) is not None
    return spec.partition(":")[0] in ("dir", "mbox", "git", "lore")


def wrong_make(words: list[str]) -> Iterator[str]:
    """Yield the targets and variables of a ``make -C probes`` that its Makefile does not have."""
    makefile = (ROOT / "probes" / "Makefile").read_text()
    for word in words[3:]:
        name, is_variable, _ = word.partition("=")
        pattern = rf"\$\({name}\)" if is_variable else rf"^{name}:"
        is_built = (ROOT / "probes" / "c" / f"{Path(word).name}.c").exists()
        found = re.search(pattern, makefile, re.MULTILINE)
        if not (found or is_built or _PLACEHOLDER.fullmatch(word)):
            yield f"make: {word}"


def wrong_probes(line: str) -> Iterator[str]:
    """Yield the binaries that no source makes, and the options that `probes/run-here` lacks."""
    for name in re.findall(r"(?:(?<![\w.])/probes/|probes/build/)(\w+)", line):
        sources = (ROOT / "probes" / "c" / f"{name}.c", ROOT / "probes" / "python" / f"{name}.py")
        if not any(source.exists() for source in sources) and not _PLACEHOLDER.fullmatch(name):
            yield f"no probe {name}"
    _, _, words = line.partition("probes/run-here ")
    for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", words):
        if f'"{option}"' not in (ROOT / "probes" / "run-here").read_text():
            yield f"run-here: {option}"


def wrong_commands(page: Path) -> Iterator[str]:
    for language, text in blocks_of(page):
        for line in lines_of(language, text):
            yield from (f"{line}: {wrong}" for wrong in wrong_probes(line))
            for words in commands_of(line):
                if words[:3] == ["make", "-C", "probes"]:
                    yield from wrong_make(words)
                arguments = arguments_of(words)
                if arguments is None:
                    continue
                try:
                    values = parse(arguments)
                except Wrong as error:
                    yield f"{line}: {error}"
                else:
                    yield from (f"{line}: {wrong}" for wrong in wrong_names(values))
    for words in _INLINE.findall(prose_of(page)):
        try:
            parse_mention(shlex.split(words)[1:])
        except Wrong as error:
            yield f"`{words}`: {error}"


def hidden_commands(page: Path) -> Iterator[str]:
    """Yield the commands in blocks that are not marked as commands, and so not looked at."""
    for language, text in blocks_of(page):
        if language not in ("sh", "console"):
            for line in text.splitlines():
                if re.match(r"(\$ )?\S*\bhgm (run|\w+ )|(\$ )?make -C probes", line):
                    yield line


@pytest.fixture(autouse=True)
def any_path_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the paths in the documentation for paths of files that are there."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_commands_are_commands(page: Path) -> None:
    assert [*wrong_commands(page), *hidden_commands(page)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c\n[ok](#a-b-c) [no](#d) [gone](gone.md)\n```\n[code](x.md)\n```\n")
    assert list(broken_links(page)) == ["#d: no such heading", "gone.md: no such file"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```sh\n./hgm run --nodes 2 --probe 'hgm/split*' # a comment\n```\n", []),
        ("```sh\nHGM_VMCORES=0 ./hgm run \\\n --alone | tee log && echo >x\n```\n", []),
        ("```sh\n./hgm run --no-such 3\n```\n", ["No such option"]),
        ("```sh\nls; ./hgm no-such\n```\n", ["No such command"]),
        ("```sh\n./hgm run --nodes two\n```\n", ["not a valid integer"]),
        ("```sh\n./hgm compare RUN\n```\n", ["Missing argument"]),
        ("```sh\n./hgm judge RUN RUN\n```\n", ["unexpected extra argument"]),
        ("```sh\n./hgm run --probe hgm/no-such\n```\n", ["--probe hgm/no-such"]),
        ("```sh\n./hgm run --config no-such\n```\n", ["--config no-such"]),
        ("```sh\n./hgm run --series fault:no-such\n```\n", ["--series fault:no-such"]),
        ("```sh\n./hgm run --series no-such\n```\n", ["--series no-such"]),
        ("```sh\ngit bisect run ~/hgm/hgm bisect-step --no-such\n```\n", ["No such option"]),
        ("```console\n$ ./hgm run --no-such\n--no-such 2\n```\n", ["No such option"]),
        ("```sh\nprobes/build/split -l && ./hgm guest shell -- /probes/postcopy\n```\n", []),
        ("```sh\nprobes/build/no_such\n```\n", ["no probe no_such"]),
        ("```sh\n./hgm guest shell -- /probes/no_such\n```\n", ["no probe no_such"]),
        ("```sh\nprobes/run-here DIR -t hgm/split --yes-harm-this-machine\n```\n", []),
        ("```sh\nprobes/run-here --no-such\n```\n", ["run-here: --no-such"]),
        ("```sh\nmake -C probes CROSS_COMPILE=x- run_tests build/split\n```\n", []),
        ("```sh\nmake -C probes no-such\n```\n", ["make: no-such"]),
        ("```sh\nmake -C probes NO_SUCH=1\n```\n", ["make: NO_SUCH=1"]),
        ("```\n./hgm run\n```\n", ["./hgm run"]),
        ("See `hgm compare` and `hgm run --json`.\n", []),
        ("See `hgm no-such`.\n", ["No such command"]),
        ("See `hgm run --no-such`.\n", ["No such option"]),
    ],
)
def test_a_wrong_command_is_found(tmp_path: Path, text: str, wrong: list[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    found = [*wrong_commands(page), *hidden_commands(page)]
    assert len(found) == len(wrong), found
    assert all(words in line for words, line in zip(wrong, found, strict=True)), found


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_python_examples_compile_and_use_fixtures_that_exist(page: Path) -> None:
    ours = {name for name in vars(pytest_plugin) if name.startswith("hgm_")}
    for language, text in blocks_of(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                asked = {argument.arg for argument in node.args.args}
                assert {name for name in asked if name.startswith("hgm_")} <= ours


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / target).resolve() for target in _LINK.findall(index.read_text())}
    assert {page for page in (ROOT / "docs").rglob("*.md") if page != index} <= named


def test_every_environment_variable_is_in_the_reference() -> None:
    sources = [*(ROOT / "harness").rglob("*.py"), ROOT / "hgm"]
    read = {name for file in sources for name in re.findall(r"\"(HGM_[A-Z_]+)\"", file.read_text())}
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    assert read <= set(re.findall(r"`(HGM_\w+)", page))


def test_the_reference_of_commands_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "commands.md").read_text() == commands_page.page(), (
        "run: python -m tests.commands_page > docs/reference/commands.md"
    )


def test_the_architecture_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    told = set(re.findall(r"`harness/(\w+)/`", page))
    assert told == {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
