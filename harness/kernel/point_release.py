# SPDX-License-Identifier: GPL-2.0-only
"""An older point release where Debian's newest does not take a series of our own.

Debian publishes a new 6.12.y every two weeks; ``series.toml`` says which version a series was
tested with. Whether a version takes the series is found by applying it, never by comparing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from harness.context import Context
from harness.errors import SourceError
from harness.kernel import debian, faults, registry, series, source
from harness.kernel.series import Series
from harness.kernel.source import Source
from harness.kernel.specs import SourceSpec, parse_source
from harness.records.kernel import RefusedSource

#: How many versions older than the tested one are tried: each is a download of 150 MB.
_MOST_OLDER = 3


def resolve(
    spec: SourceSpec, whole: Series, context: Context, *, fuzz: bool = False, refresh: bool = False
) -> Source:
    """Return the source that a spec names, or an older version that takes the series.

    An older version is for a ``debian:`` spec without version and suite, and a series that
    ``series.toml`` says was tested: that version, or if Debian no longer has it, the newest older
    one to which the series applies. If there is none it is the newest, and the series is refused.

    Args:
        spec: which source.
        whole: every patch of the series.
        context: cache, deadline, progress.
        fuzz: whether a patch may apply with less context than it has.
        refresh: fetch the newest version of a source that is already in the cache.

    Raises:
        SourceError: as `harness.kernel.source.resolve`.
    """
    found = source.resolve(spec, context, refresh=refresh)
    if spec.kind != "debian" or spec.version or spec.suite:
        return found
    tested = registry.tested_with(_registered(whole.spec), found.version)
    reason = series.refusal(whole, found, context, fuzz=fuzz) if tested else ""
    if not reason:
        return found
    for older in _older(spec.where, tested, context):
        if not series.refusal(whole, older, context, fuzz=fuzz):
            refused = RefusedSource(
                origin=found.identity.origin, tree=found.identity.tree, reason=reason
            )
            context.progress.note(
                f"{whole.spec} does not apply to {debian.named(found.identity.origin)}: {reason}; "
                f"using {debian.named(older.identity.origin)}; it was tested with {tested}"
            )
            identity = msgspec.structs.replace(older.identity, spec=spec.text, refused=refused)
            return msgspec.structs.replace(older, identity=identity)
    return found


def _older(package: str, tested: str, context: Context) -> Iterator[Source]:
    """Yield the tested version of a package, if Debian or the cache has it, then older ones."""
    with contextlib.suppress(SourceError):
        yield source.resolve(parse_source(f"debian:{package}={tested}"), context)
    versions = dict.fromkeys(offer.version for offer in debian.older(package, tested, context))
    for version in list(versions)[:_MOST_OLDER]:
        yield source.resolve(parse_source(f"debian:{package}={version}"), context)


def _registered(spec: str) -> str:
    """Return the registered series that a ``--series`` spec is, or that its fault applies on."""
    kind, _, name = spec.partition(":")
    return faults.find(name).on if kind == "fault" else spec
