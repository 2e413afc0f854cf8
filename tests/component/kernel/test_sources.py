# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import SourceError
from harness.kernel.git import Store
from harness.kernel.source import Source, resolve
from harness.kernel.specs import parse_source
from tests.component.kernel.conftest import picture, run, unfinished


def names(source: Source, context: Context) -> set[str]:
    listing = ["ls-tree", "-r", "--name-only", source.identity.tree]
    return set(Store.of(context).git(listing, context.deadline).stdout.splitlines())


def tarball(tree: Path, path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # mode is a table's
        archive.add(tree, "linux-6.12.7")
    return path


def test_tree_is_read_without_build_products_and_never_written(
    repository: Path, context: Context
) -> None:
    (repository / "mm/hugetlb.o").write_text("object")
    (repository / "vmlinux").write_text("kernel")
    (repository / ".config").write_text("CONFIG_A=y")
    (repository / "mm/new.c").write_text("int new;")
    before = picture(repository)
    source = resolve(parse_source(f"tree:{repository}"), context)
    assert picture(repository) == before
    assert source.version == "6.12.7"
    assert "with changes" in source.identity.origin
    found = names(source, context)
    assert {"mm/new.c", "mm/hugetlb.c", "mm/link.c"} <= found
    assert not found & {"mm/hugetlb.o", "vmlinux", ".config"}


def test_tree_follows_every_kind_of_edit(toy: Path, context: Context) -> None:
    spec = parse_source(f"tree:{toy}")
    first = resolve(spec, context)
    assert resolve(spec, context).identity.tree == first.identity.tree
    (toy / "mm/hugetlb.c").write_text("int changed;\n")
    (toy / "mm/other.c").unlink()
    (toy / "scripts/run.sh").chmod(0o644)
    second = resolve(spec, context)
    assert second.identity.tree != first.identity.tree
    assert names(first, context) - names(second, context) == {"mm/other.c"}
    assert second.lineage == first.lineage


def test_tracked_file_is_in_although_ignored(repository: Path, context: Context) -> None:
    (repository / "mm/blob.o").write_text("tracked")
    run("git", "add", "-f", "mm/blob.o", cwd=repository)
    assert "mm/blob.o" in names(resolve(parse_source(f"tree:{repository}"), context), context)


def test_debian_gitignore_hides_nothing(toy: Path, context: Context) -> None:
    whole = names(resolve(parse_source(f"tree:{toy}"), context), context)
    with (toy / ".gitignore").open("a") as file:
        file.write("/*\n!/debian/\n")
    (toy / "mm/new.c").write_text("")
    assert names(resolve(parse_source(f"tree:{toy}"), context), context) == whole | {"mm/new.c"}


def test_variables_of_a_surrounding_git_do_not_matter(
    repository: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_WORK_TREE", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    assert resolve(parse_source(f"tree:{repository}"), context).identity.tree
    assert resolve(parse_source(f"git:{repository}@v1"), context).identity.tree


def test_git_revision_leaves_the_checkout_alone(repository: Path, context: Context) -> None:
    clean = resolve(parse_source(f"tree:{repository}"), context)
    (repository / "mm/hugetlb.c").write_text("dirty")
    before = picture(repository)
    source = resolve(parse_source(f"git:{repository}@v1"), context)
    assert picture(repository) == before
    assert source.identity.tree == clean.identity.tree
    commit = run("git", "rev-parse", "v1", cwd=repository).strip()
    assert source.identity.origin == f"commit {commit}"
    assert resolve(parse_source(f"git:file://{repository}@v1"), context).identity.tree


@pytest.mark.parametrize("revision", ["v2", "0" * 40, "HEAD~9"])
def test_unknown_revision_is_named(repository: Path, context: Context, revision: str) -> None:
    with pytest.raises(SourceError, match="has no revision"):
        resolve(parse_source(f"git:{repository}@{revision}"), context)


@pytest.mark.parametrize(("suffix", "mode"), [("", "w"), (".gz", "w:gz"), (".xz", "w:xz")])
def test_tarball_becomes_the_same_tree(
    toy: Path, context: Context, tmp_path: Path, suffix: str, mode: str
) -> None:
    path = tarball(toy, tmp_path / f"linux.tar{suffix}", mode)
    packed = resolve(parse_source(f"tar:{path}"), context)
    direct = resolve(parse_source(f"tree:{toy}"), context)
    assert packed.identity.tree == direct.identity.tree
    assert packed.identity.origin.startswith("sha256 ")
    assert unfinished(context.workspace) == []


@pytest.mark.parametrize(("suffix", "mode"), [("", "w"), (".gz", "w:gz"), (".xz", "w:xz")])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_tarball_leaves_nothing(
    toy: Path, context: Context, tmp_path: Path, suffix: str, mode: str, part: float
) -> None:
    (toy / "big.c").write_bytes(bytes(range(256)) * 400)
    path = tarball(toy, tmp_path / f"linux.tar{suffix}", mode)
    # tarfile pads a plain archive with zeros, which are not missed.
    size = path.stat().st_size if suffix else path.read_bytes().rstrip(b"\0").__len__()
    path.write_bytes(path.read_bytes()[: int(size * part)])
    with pytest.raises(SourceError, match="truncated, damaged"):
        resolve(parse_source(f"tar:{path}"), context)
    assert unfinished(context.workspace) == []
    assert list((context.workspace.cache / "sources").iterdir()) == []
    assert not [path for path in (Store.of(context).path / "objects").rglob("*") if path.is_file()]
    assert Store.of(context).git(["for-each-ref"], context.deadline).stdout == ""


@pytest.mark.parametrize("damage", [b"\xff" * 4096, b""], ids=["overwritten", "cut"])
def test_damaged_header_is_an_error(
    toy: Path, context: Context, tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "linux.tar"
    # Without pax's extra headers, whose damage tarfile does notice.
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(toy, "linux-6.12.7")
    data = path.read_bytes()
    header = data.index(b"linux-6.12.7/mm/other.c")
    path.write_bytes(data[: header + 100] + damage)
    with pytest.raises(SourceError, match="truncated, damaged"):
        resolve(parse_source(f"tar:{path}"), context)


def test_wrong_checksum_is_named(toy: Path, context: Context, tmp_path: Path) -> None:
    path = tarball(toy, tmp_path / "linux.tar", "w")
    with pytest.raises(SourceError, match="has the SHA-256"):
        resolve(parse_source(f"tar:{path}#sha256={'0' * 64}"), context)


@pytest.mark.parametrize("name", ["../evil", "/evil", "linux/../../evil", "linux/.git/hooks/x"])
def test_tarball_cannot_reach_out(context: Context, tmp_path: Path, name: str) -> None:
    path = tmp_path / "linux.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(SourceError, match="does not belong"):
        resolve(parse_source(f"tar:{path}"), context)


def test_text_is_not_a_tarball(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "linux.tar"
    path.write_text("<html>not found</html>" * 100)
    with pytest.raises(SourceError, match="not a tarball"):
        resolve(parse_source(f"tar:{path}"), context)


@pytest.mark.parametrize("form", ["tree:{}", "tar:{}/x.tar", "git:{}@v1"])
def test_absent_path_is_named(context: Context, tmp_path: Path, form: str) -> None:
    with pytest.raises(SourceError) as caught:
        resolve(parse_source(form.format(tmp_path / "absent")), context)
    assert "absent" in caught.value.line()


def test_tree_without_a_kernel_is_refused(toy: Path, context: Context, tmp_path: Path) -> None:
    (toy / "Makefile").write_text("all:\n")
    with pytest.raises(SourceError, match="not a kernel source"):
        resolve(parse_source(f"tree:{toy}"), context)
    path = tarball(toy, tmp_path / "linux.tar", "w")
    with pytest.raises(SourceError, match="not a kernel source"):
        resolve(parse_source(f"tar:{path}"), context)
