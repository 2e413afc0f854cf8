# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harness.apt import Package
from harness.arch import arch
from harness.errors import UserError
from harness.image import image, recipe, tree
from harness.image.recipe import Recipe
from harness.image.tree import Entry

X86 = arch("x86_64")

SMALL = 'suite = "trixie"\npackages = ["busybox-static"]\nkeep = ["bin/*"]\n'


def files(*paths: str) -> dict[str, Entry]:
    return {path: tree.file(path, path.encode()) for path in paths}


def chosen(**fields: object) -> Recipe:
    small = {"suite": "trixie", "packages": (), "keep": ()}
    return Recipe(**{**small, **fields})  # type: ignore[arg-type]


def test_a_small_recipe() -> None:
    assert recipe.parse(SMALL, "x.toml", X86) == chosen(
        packages=("busybox-static",), keep=("bin/*",)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep = [", "x.toml: "),
        ('packages = ["a"]', "missing required field `suite`"),
        (SMALL + "leave_out = []", "unknown field `leave_out`"),
        (SMALL + "drop = 3", "Expected `array`"),
        (SMALL + "[devices]\nx = [1]", "length 2"),
    ],
)
def test_a_bad_recipe_names_the_file_and_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe.parse(text, "x.toml", X86)
    assert caught.value.exit_code == 2
    assert said in caught.value.line()
    assert caught.value.line().startswith("x.toml")


def test_moved_takes_a_file_or_a_directory_and_what_is_in_it() -> None:
    source = {"bin": tree.directory("bin"), **files("bin/x", "binary")}
    assert list(recipe.moved(source, {"bin": "usr/bin"})) == ["usr/bin", "usr/bin/x", "binary"]
    assert list(recipe.moved(source, {"bin/x": "x"})) == ["bin", "x", "binary"]


def test_select_keeps_drops_and_forgets_directories() -> None:
    source = {"usr": tree.directory("usr"), **files("usr/bin/a", "usr/bin/b", "usr/share/doc/a")}
    kept = recipe.select(source, chosen(keep=("usr/bin/*",), drop=("*/b",)), "x.toml")
    assert kept == files("usr/bin/a")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"keep": ("usr/bin/c",)}, "x.toml: keep = 'usr/bin/c'"),
        ({"keep": ("*",), "drop": ("*.py",)}, "x.toml: drop = '*.py'"),
    ],
)
def test_a_glob_that_matches_nothing_is_an_error(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match="matches no file") as caught:
        recipe.select(files("usr/bin/a"), chosen(**fields), "x.toml")
    assert said in caught.value.line()


def test_what_a_recipe_adds() -> None:
    added = recipe.own_entries(
        chosen(links={"a": "b"}, directories={"tmp": 0o1777}, devices={"c": (5, 1)})
    )
    assert added == {
        "a": tree.link("a", "b"),
        "tmp": tree.directory("tmp", 0o1777),
        "c": tree.character_device("c", 5, 1),
    }


def test_the_mode_in_the_checkout_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "init").write_text("#!/bin/sh\n")
    (tmp_path / "etc/passwd").chmod(0o777)
    (tmp_path / "init").chmod(0o600)
    modes = {path: stat.S_IMODE(entry.mode) for path, entry in recipe.read_rootfs(tmp_path).items()}
    assert modes == {"etc/passwd": 0o644, "init": 0o755}


def test_our_recipes_are_well_formed_and_their_digest_moves_with_every_file(tmp_path: Path) -> None:
    for source in image.RECIPES.rglob("*"):
        if source.is_file():
            copy = tmp_path / source.relative_to(image.RECIPES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    before = image.read_recipes(X86, tmp_path)
    assert before == image.read_recipes(X86)
    for name in ("rootfs/init", "disk.toml"):
        old = image.read_recipes(X86, tmp_path).digest
        with (tmp_path / name).open("a") as file:
            file.write("# another line\n")
        assert image.read_recipes(X86, tmp_path).digest != old


def test_both_recipes_are_of_one_release(tmp_path: Path) -> None:
    (tmp_path / "initramfs.toml").write_text(SMALL)
    (tmp_path / "disk.toml").write_text(SMALL.replace("trixie", "bookworm"))
    with pytest.raises(UserError, match="must have the same suite"):
        image.read_recipes(X86, tmp_path)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the recipe .*initramfs\.toml"):
        image.read_recipes(X86, tmp_path)


def package(name: str, sha256: str = "0") -> Package:
    return Package(name=name, version="1", size=1, sha256=sha256)


def test_without() -> None:
    assert image.without((package("a"), package("b")), {"a"}) == (package("b"),)


def test_leaving_out_an_absent_package_is_an_error() -> None:
    with pytest.raises(UserError, match="no other depends on: perl"):
        image.without((package("a"),), {"perl"})


def test_the_key_moves_with_the_recipes_and_with_each_package() -> None:
    keys = {
        image.image_key("r", (package("a"),)),
        image.image_key("s", (package("a"),)),
        image.image_key("r", (package("a", "1"),)),
        image.image_key("r", (package("a"), package("b"))),
    }
    assert len(keys) == 4
