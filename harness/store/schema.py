# SPDX-License-Identifier: GPL-2.0-only
"""The JSON schema of ``result.json``, for readers in other languages.

``python -m harness.store.schema`` prints it; ``docs/reference/result.schema.json`` is that output,
and a test keeps it so.
"""

from __future__ import annotations

import sys

import msgspec

from harness.records.run import RunRecord


def json_schema() -> bytes:
    """Return the schema (JSON Schema 2020-12) of `RunRecord` as indented JSON."""
    return (
        msgspec.json.format(msgspec.json.encode(msgspec.json.schema(RunRecord)), indent=2) + b"\n"
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(json_schema())
