# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel sources Debian has, and which of them are in the cache."""

from __future__ import annotations

from typing import Literal

from harness.context import Context
from harness.kernel import debian
from harness.kernel.source import Source
from harness.records.base import Record, read_json


class SourceVersion(Record, frozen=True, kw_only=True):
    """One version of a kernel source.

    Attributes:
        package: its name.
        version: as Debian counts it.
        suites: those that have it, in the order of preference; empty if none has it any more.
        cached: whether it is in the cache.
        taken: ``now`` if a spec without version and suite means it; ``by fetch`` if it will once
            `hgm kernel fetch` has been run; empty otherwise.
    """

    package: str
    version: str
    suites: tuple[str, ...] = ()
    cached: bool = False
    taken: Literal["", "now", "by fetch"] = ""


class Available(Record, frozen=True, kw_only=True):
    """What ``hgm kernel list --json`` prints.

    Attributes:
        versions: by package, the newest kernel first, then in the order of preference.
    """

    versions: tuple[SourceVersion, ...]


def available(context: Context) -> Available:
    """Return every version of every kernel source in Debian or in the cache.

    Raises:
        InfrastructureError: as `harness.apt.Apt`.
    """
    suites: dict[tuple[str, str], list[str]] = {}
    chosen: dict[str, str] = {}
    for offer in debian.everything(context):
        suites.setdefault((offer.package, offer.version), []).append(offer.suite)
        chosen.setdefault(offer.package, offer.version)
    remembered = _remembered(context)
    cached = set(remembered.values())
    for package, version in cached:
        suites.setdefault((package, version), [])
        chosen.setdefault(package, version)

    def taken(package: str, version: str) -> Literal["", "now", "by fetch"]:
        if remembered.get(package, (package, chosen[package])) == (package, version):
            return "now"
        return "by fetch" if chosen[package] == version else ""

    versions = (
        SourceVersion(
            package=package,
            version=version,
            suites=tuple(where),
            cached=(package, version) in cached,
            taken=taken(package, version),
        )
        for (package, version), where in suites.items()
    )
    newest_first = sorted(versions, key=lambda one: debian.kernel(one.package), reverse=True)
    return Available(versions=tuple(newest_first))


def _remembered(context: Context) -> dict[str, tuple[str, str]]:
    """Return package and version of each ``debian:`` source in the cache, by the spec's rest."""
    found = {}
    for path in context.workspace.room("sources").glob("debian-*.json"):
        if (source := read_json(path, Source)) is not None:
            package, _, version = debian.named(source.identity.origin).partition(" ")
            found[path.stem.removeprefix("debian-")] = (package, version)
    return found
