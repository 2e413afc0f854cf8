# SPDX-License-Identifier: GPL-2.0-only
"""Debian's linux-source packages: which suite has which version, and how to get one.

Without a version or a suite in the spec, the suites are asked in a fixed order (see `_releases`)
and the first that has the package gives its newest version. So a released kernel is preferred over
a newer one that is not released yet, and a release candidate is taken if there is nothing else.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from harness import apt, command
from harness.apt import Apt, Offer
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError, SourceError
from harness.kernel.specs import SourceSpec

_SOURCE = re.compile(r"linux-source-([0-9]+(?:[.][0-9]+)*)\Z")

#: Asked for their codenames together; testing is so by itself, since few packages need it.
_NAMED = ("stable", "oldstable")


def find(spec: SourceSpec, context: Context, *, refresh: bool = False) -> tuple[Apt, Offer]:
    """Return the version of a package that a ``debian:`` spec means now.

    Args:
        spec: which package, and perhaps which version or suite.
        context: cache, deadline, progress.
        refresh: whether to fetch lists again that are not old yet.

    Raises:
        SourceError: if no suite that the spec allows has it.
        UserError: if Debian has no such suite.
        InfrastructureError: as `harness.apt.Apt`.
    """
    others: list[str] = []
    for name in (spec.suite,) if spec.suite else _releases(context, refresh=refresh):
        lists = _lists(name, context, refresh=refresh)
        for offer in _exactly(spec.where, lists):
            if spec.version in ("", offer.version):
                return lists, offer
            others.append(offer.version)
    if others:
        missing = (
            f"version {spec.version} of {spec.where}; there are {', '.join(dict.fromkeys(others))}"
        )
    else:
        missing = f"the package {spec.where}"
    where = f"Debian's suite {spec.suite}" if spec.suite else "no suite of Debian"
    verb = "does not have" if spec.suite else "has"
    raise SourceError(
        f"--kernel {spec.text}: {where} {verb} {missing}",
        hint="`hgm kernel list` shows what there is",
    )


def older(package: str, than: str, context: Context) -> list[Offer]:
    """Return the versions of a package that are older than one, the newest first."""

    def compare(one: Offer, two: Offer) -> int:
        return _is_older(one.version, two.version, context) - _is_older(
            two.version, one.version, context
        )

    found = [offer for offer in everything(context) if offer.package == package]
    found = [offer for offer in found if _is_older(offer.version, than, context)]
    return sorted(found, key=functools.cmp_to_key(compare))


def _is_older(version: str, than: str, context: Context) -> bool:
    argv = ["dpkg", "--compare-versions", version, "lt", than]
    return command.run(argv, context.deadline, ok=(0, 1)).exit_code == 0


def everything(context: Context) -> Iterator[Offer]:
    """Yield every version of every kernel source, from the suites in the order of preference.

    A release whose lists cannot be had, such as one that has expired, is left out with a note.
    """
    for name in _releases(context, refresh=False):
        try:
            offers = _lists(name, context, refresh=False).offers("linux-source-")
        except InfrastructureError as error:
            context.progress.note(f"without Debian's {name}: {error.line()}")
        else:
            yield from (offer for offer in offers if _SOURCE.match(offer.package))


def kernel(package: str) -> tuple[int, ...]:
    """Return the kernel's version in the name of a package, such as (6, 12)."""
    found = _SOURCE.match(package)
    return tuple(map(int, found[1].split("."))) if found else ()


def _releases(context: Context, *, refresh: bool) -> tuple[str, ...]:
    """Return the releases in the order in which they are preferred."""
    names = _codenames(_NAMED, context, refresh=refresh)
    known = (names["stable"], names["oldstable"])
    return (*known, *(f"{name}-backports" for name in known), "testing", "sid", "experimental")


def _codenames(names: tuple[str, ...], context: Context, *, refresh: bool) -> dict[str, str]:
    lists = Apt(names, context, targets="none")
    if refresh:
        lists.refresh(older_than=0)
    return lists.codenames()


def _lists(release: str, context: Context, *, refresh: bool) -> Apt:
    """Return the lists of a release, or of a part of one such as ``stable-backports``."""
    name, dash, part = release.partition("-")
    if name == "unstable":
        name = "sid"
    for names in (_NAMED, ("testing",)):
        if name in names:
            name = _codenames(names, context, refresh=refresh)[name]
    lists = Apt(apt.release(f"{name}{dash}{part}"), context)
    if refresh:
        lists.refresh(older_than=0)
    return lists


def _exactly(package: str, lists: Apt) -> list[Offer]:
    return [offer for offer in lists.offers(package) if offer.package == package]


def download(lists: Apt, offer: Offer, room: Path) -> Path:
    """Return the .deb of a version, verified, in ``room``."""
    debs = room / "debs"
    debs.mkdir()
    return lists.download([lists.package(offer.package, offer.version)], debs)[offer.package]


def origin(offer: Offer, sha256: str) -> str:
    """Return how a record names a version of a package."""
    return f"{offer.package} {offer.version}, {offer.suite}, sha256 {sha256}"


def named(text: str) -> str:
    """Return package and version of what `origin` returned."""
    return text.partition(",")[0]


def tarball(package: Path, room: Path, deadline: Deadline) -> Path:
    """Return the source tarball in a linux-source package, unpacked into ``room``."""
    out = room / "package"
    command.run(["dpkg-deb", "--extract", str(package), str(out)], deadline)
    package.unlink()
    tarballs = sorted((out / "usr/src").glob("linux-source-*.tar.*"))
    if not tarballs:
        raise SourceError(
            f"{package.name} has no usr/src/linux-source-*.tar.*",
            hint="use one of the linux-source-VERSION packages",
        )
    return tarballs[0]
