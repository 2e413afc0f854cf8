# SPDX-License-Identifier: GPL-2.0-only
"""The samples for schedulers that someone else runs: their names are names, their parts fit.

No schema of Kubernetes comes with what we depend on, so that its own fields are not checked; the
samples have not been run.
"""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

import pytest
import yaml
from distributed.security import Security

from harness.cluster import needs
from harness.cluster.address import DEFAULT_PORT
from tests.unit.test_docs import ROOT, blocks_of, lines_of, parse

PAGE = ROOT / "docs/howto/cluster.md"

#: The keywords of SLURMCluster that dask-jobqueue documents, as far as they are of use here.
SLURM = {
    *("account", "cores", "death_timeout", "interface", "job_cpu", "job_extra_directives"),
    *("job_mem", "job_script_prologue", "local_directory", "log_directory", "memory", "n_workers"),
    *("name", "nanny", "processes", "protocol", "python", "queue", "scheduler_options"),
    *("security", "shared_temp_directory", "walltime", "worker_extra_args"),
}


def manifest() -> dict[tuple[str, str], Any]:
    """Return the objects of the manifest by kind and name."""
    found = yaml.safe_load_all((ROOT / "docs/cluster/kubernetes.yaml").read_text())
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pod(role: str) -> dict[str, Any]:
    deployment = manifest()["Deployment", f"hgm-{role}"]["spec"]
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    found = deployment["template"]["spec"]
    assert isinstance(found, dict)
    return found


def container(role: str) -> dict[str, Any]:
    (found,) = pod(role)["containers"]
    assert isinstance(found, dict)
    return found


def shown(program: str) -> list[list[str]]:
    lines = (line for block in blocks_of(PAGE) for line in lines_of(*block))
    return [shlex.split(line) for line in lines if line.startswith(program)]


def slurm() -> tuple[dict[str, Any], ast.Module]:
    """Return the keywords of the cluster in the example, as source, and all of it."""
    (text,) = (text for language, text in blocks_of(PAGE) if language == "python")
    tree = ast.parse(text)
    calls = {call.func.id: call for call in ast.walk(tree) if _is_named(call)}  # type: ignore[attr-defined]
    return {word.arg: word.value for word in calls["SLURMCluster"].keywords}, tree  # type: ignore[attr-defined]


def _is_named(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def resources(words: str) -> dict[str, float]:
    """Read resources as `dask worker` does."""
    return {name: float(amount) for name, _, amount in (w.partition("=") for w in words.split())}


def test_the_manifest_has_a_scheduler_its_service_and_workers() -> None:
    objects = manifest()
    assert set(objects) == {
        ("Service", "hgm-scheduler"),
        ("Deployment", "hgm-scheduler"),
        ("Deployment", "hgm-worker"),
    }
    service = objects["Service", "hgm-scheduler"]["spec"]
    labels = objects["Deployment", "hgm-scheduler"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"] == labels
    assert service["ports"] == [{"port": DEFAULT_PORT}]
    assert container("scheduler")["ports"] == [{"containerPort": DEFAULT_PORT}]


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_the_commands_of_the_manifest_are_commands(role: str) -> None:
    program, *arguments = container(role)["command"]
    assert program == "hgm-harness"
    assert arguments[:2] == ["cluster", role]
    found = parse(arguments)
    assert str(found["tls"]) == "/tls"
    if role == "worker":
        assert ("Service", found["address"]) in manifest()
        assert str(found["cores"]) == container(role)["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_a_pod_has_the_certificates_of_its_role_and_a_cache(role: str) -> None:
    volumes = {each["name"]: each for each in pod(role)["volumes"]}
    mounts = {each["mountPath"]: volumes[each["name"]] for each in container(role)["volumeMounts"]}
    assert container(role)["env"] == [{"name": "HGM_CACHE", "value": "/cache"}]
    assert "emptyDir" in mounts["/cache"]
    secret = mounts["/tls"]["secret"]
    assert secret["defaultMode"] == 0o440
    (made,) = (words for words in shown("kubectl create secret") if secret["secretName"] in words)
    files = {word.removeprefix("--from-file=") for word in made if word.startswith("--from-file=")}
    assert files == {"ca.pem", f"{role}.pem", f"{role}-key.pem"}


def test_the_examples_state_the_same_resources_by_their_names() -> None:
    (command,) = shown("dask worker")
    stated = command[command.index("--resources") + 1]
    _, tree = slurm()
    assert stated in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    names = {needs.CPUS, needs.MEMORY, needs.DISK, needs.KVM, f"{needs.ARCH}x86_64"}
    assert set(resources(stated)) == names
    threads = command[command.index("--nthreads") + 1]
    assert float(threads) == resources(stated)[needs.CPUS]


def test_the_example_for_slurm_has_documented_keywords() -> None:
    keywords, tree = slurm()
    assert set(keywords) <= SLURM
    assert ast.literal_eval(keywords["cores"]) == 8
    assert "HGM_CACHE=" in ast.unparse(keywords["job_script_prologue"])  # homes are shared there
    extra = ast.unparse(keywords["worker_extra_args"])
    (command,) = shown("dask worker")
    assert set(re.findall(r"--[a-z-]+", extra)) <= set(command)
    (tls,) = (
        call
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Security"
    )
    words = {str(word.arg): ast.literal_eval(word.value) for word in tls.keywords}
    made = Security(**words)  # which refuses what it does not know
    for role in ("scheduler", "worker", "client"):
        told = made.get_tls_config_for_role(role)
        assert (told["ca_file"], told["cert"]) == ("ca.pem", f"{role}.pem")
        assert told["key"] == f"{role}-key.pem"
