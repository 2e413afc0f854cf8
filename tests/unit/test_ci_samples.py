# SPDX-License-Identifier: GPL-2.0-only
"""The samples in docs/ci are in the form that their services read, and their commands exist.

`tests.component.samples` runs them.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from tests.unit.test_docs import ROOT, arguments_of, blocks_of, commands_of, parse, wrong_names

SAMPLES = ROOT / "docs" / "ci"

#: How many commands of the harness each sample has.
COMMANDS = {
    "github.yml": 2,
    "gitlab.yml": 2,
    "hgm-nightly.service": 2,
    "crontab": 3,
    "Containerfile": 3,
}

#: The services' own schemas, as check-jsonschema brings them.
SCHEMAS = {
    "github.yml": ("vendor.github-workflows",),
    "gitlab.yml": ("vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
}

_CRON_LINE = re.compile(r"([0-9*/,-]+ ){5} *(?P<command>.*)")


def read_yaml(name: str) -> dict[Any, Any]:
    found = yaml.safe_load((SAMPLES / name).read_text())
    assert isinstance(found, dict)
    return found


def read_unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.read_string((SAMPLES / name).read_text())
    return parser


def cron_jobs() -> Iterator[str]:
    """Yield the commands of the crontab; each of its lines is a comment, a variable or a job."""
    for line in (SAMPLES / "crontab").read_text().splitlines():
        if line.startswith("#") or re.fullmatch(r"[A-Z_]+=\w+", line):
            continue
        job = _CRON_LINE.fullmatch(line)
        assert job, line
        assert "%" not in line, "cron makes a line break of it"
        yield job["command"].replace("nice ./", "./")


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the container's recipe."""
    text = (SAMPLES / "Containerfile").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.startswith("#"):
            instruction, _, rest = line.partition(" ")
            yield instruction, rest


def _lines(name: str) -> Iterator[str]:
    """Yield the commands of a sample."""
    if name == "github.yml":
        yield from (s["run"] for s in read_yaml(name)["jobs"]["kernel"]["steps"] if "run" in s)
    elif name == "gitlab.yml":
        job = read_yaml(name)["kernel"]
        yield from (*job["before_script"], *job["script"], *job["after_script"])
    elif name == "crontab":
        yield from cron_jobs()
    elif name == "Containerfile":
        found = dict(instructions())
        yield from (rest for instruction, rest in instructions() if instruction == "RUN")
        yield " ".join(json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"]))
        usage = re.search(r"podman run .* (hgm run .*)", (SAMPLES / name).read_text())
        assert usage
        yield usage[1]
    else:
        service = read_unit(name)["Service"]
        yield from (service["ExecStart"], service["ExecStopPost"])


def lint(name: str, file: Path) -> tuple[int, str]:
    """Return the exit code and the output of check-jsonschema."""
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", *SCHEMAS[name], str(file)])
    return done.exit_code, done.output


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_sample_is_as_the_schema_of_its_service_says(name: str) -> None:
    assert lint(name, SAMPLES / name) == (0, "ok -- validation done\n")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("github.yml", "runs-on:", "runs_on:"),
        ("github.yml", "if: always()", "if: [always]"),
        ("gitlab.yml", "before_script:", "before-script:"),
        ("gitlab.yml", "when: always", "when: sometimes"),
    ],
)
def test_a_mistake_in_a_sample_is_found(tmp_path: Path, name: str, old: str, new: str) -> None:
    text = (SAMPLES / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    code, said = lint(name, tmp_path / name)
    assert (code, "Schema validation errors" in said) == (1, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_of_a_sample_are_commands(name: str) -> None:
    calls = [
        arguments
        for line in _lines(name)
        for words in commands_of(line)
        if (arguments := arguments_of(words)) is not None
    ]
    assert len(calls) == COMMANDS[name]
    for arguments in calls:
        assert list(wrong_names(parse(arguments))) == []


def test_every_sample_is_tested_and_named() -> None:
    found = {path.name for path in SAMPLES.iterdir()}
    assert found == {*COMMANDS, "hgm-nightly.timer"}
    page = (ROOT / "docs" / "howto" / "ci.md").read_text()
    assert {name for name in found if f"(../ci/{name})" not in page} == set()


def test_all_run_on_a_host_that_is_tested() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "Debian 12 or 13" in readme
    job = read_yaml("github.yml")["jobs"]["kernel"]
    images = [job["container"]["image"], read_yaml("gitlab.yml")["kernel"]["image"]]
    assert [*images, dict(instructions())["FROM"]] == ["debian:trixie"] * 3
    cache = next(s["with"] for s in job["steps"] if s.get("uses", "").startswith("actions/cache@"))
    assert cache["path"] == job["env"]["HGM_CACHE"]


def test_the_timer_starts_the_service_of_its_name() -> None:
    timer = read_unit("hgm-nightly.timer")
    assert timer["Timer"]["OnCalendar"] == "*-*-* 02:00:00"
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert read_unit("hgm-nightly.service")["Service"]["Type"] == "oneshot"


def test_what_fails_is_still_summarized_and_kept() -> None:
    steps = read_yaml("github.yml")["jobs"]["kernel"]["steps"]
    names = [step.get("name") for step in steps]
    later = steps[names.index("Test the kernel") :]
    assert [step.get("if") for step in later] == [None, "always()", "always()"]
    assert read_yaml("gitlab.yml")["kernel"]["artifacts"]["when"] == "always"


def test_the_page_about_exports_has_the_report_of_the_sample() -> None:
    page = ROOT / "docs" / "howto" / "export.md"
    (text,) = (text for language, text in blocks_of(page) if language == "yaml")
    job, sample = yaml.safe_load(text)["kernel"], read_yaml("gitlab.yml")["kernel"]
    assert job["after_script"] == sample["after_script"]
    assert job["artifacts"].items() <= sample["artifacts"].items()


def test_the_container_has_the_checkout_and_its_cache() -> None:
    found = list(instructions())
    assert [name for name, _ in found if name] == [
        *("FROM", "RUN", "WORKDIR", "COPY", "ENV", "RUN", "VOLUME", "ENTRYPOINT", "CMD")
    ]
    values = dict(found)
    assert values["ENV"] == f"HGM_CACHE={values['VOLUME']}"
