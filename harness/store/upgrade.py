# SPDX-License-Identifier: GPL-2.0-only
"""Upgrades the files of older run directories: JSON of schema 1 in, of schema 2 out.

Only ``result.json`` has a number. The other files of a run are told by their fields, which have no
name in common with those that replaced them, so that today's files pass unchanged.
"""

from __future__ import annotations

from typing import Any

from harness.records.outcome import Outcome

Json = dict[str, Any]

#: Fields that were renamed, in any object.
_RENAMED = {
    "slowness": "timeout_scale",
    "spoils": "taints_guest",
    "on_base": "without_series",
    "ledger": "accounting",
    "place": "blame",
}

#: Outcomes of runs that an error ended, by the stage and the name of the error's class.
_OUTCOMES = {
    ("kernel", "SeriesError"): Outcome.PATCH_REFUSED,
    ("kernel", "ConfigError"): Outcome.CONFIG_REFUSED,
    ("kernel", "CompileError"): Outcome.NOT_COMPILED,
    ("guest", "GuestPanicked"): Outcome.NOT_BOOTED,
    ("guest", "GuestSilent"): Outcome.NOT_BOOTED,
    ("guest", "SshUnreachable"): Outcome.NOT_BOOTED,
    ("guest", "GuestLost"): Outcome.NOT_BOOTED,
}

_USER_MISTAKE = 2

#: What ``--expect`` meant: it knew one promise.
_PROFILES: dict[str, Json] = {
    "report": {"name": "report"},
    "hgm": {"name": "hgm", "offers": ["split"]},
    "stock": {"name": "stock", "lacks": ["split"]},
}


def record(old: Json) -> Json:
    """Return a ``result.json`` of schema 1 as one of schema 2."""
    new = _renamed(old)
    new["probes"] = [_renamed(probe) for probe in old.get("probes", [])]
    new["outcome"] = _outcome(old)
    new["expect"] = _PROFILES[old.get("expect", "report")]
    new["schema"] = 2
    return new


def evidence(data: Json) -> Json:
    """Return an ``evidence.json`` of schema 1 as one of schema 2."""
    return _renamed(data)


def capture(data: Json) -> Json:
    """Return a ``capture.json`` of schema 1 as one of schema 2."""
    steps = [
        {("result" if key == "outcome" else key): value for key, value in step.items()}
        for step in data.get("steps", [])
    ]
    why = "splat" if data.get("why") == "complaint" else data.get("why")
    return {**data, "why": why, "steps": steps}


def ingredients(data: Json) -> Json:
    """Return an ``ingredients.json`` of schema 1 as one of schema 2."""
    new = {**data, "specs": [_renamed(spec) for spec in data.get("specs", [])]}
    for table in ("programs", "digests"):
        old = data.get(table, {})
        new[table] = {("counters" if name == "ledger" else name): old[name] for name in old}
    return new


def _renamed(data: Json) -> Json:
    return {_RENAMED.get(name, name): value for name, value in data.items()}


def _outcome(old: Json) -> Outcome:
    """Return the outcome of a run from its error and stage, which schema 1 has."""
    verdict, stage = old.get("verdict"), old.get("stage", "")
    if verdict == "CUT":
        return Outcome.CUT
    if verdict == "INTERRUPTED":
        return Outcome.INTERRUPTED
    if stage == "done":
        return Outcome.PROBES_RAN
    if verdict != "ERROR":
        return Outcome.BUILT_ONLY
    mistake = old.get("exit_code") == _USER_MISTAKE
    other = Outcome.USER_MISTAKE if mistake else Outcome.INFRASTRUCTURE
    return _OUTCOMES.get((stage, old.get("error", "")), other)
