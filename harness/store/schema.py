# SPDX-License-Identifier: GPL-2.0-only
"""The JSON schema of ``result.json``, for readers in other languages.

``python -m harness.store.schema`` prints it; ``docs/reference/result.schema.json`` is that output,
and a test keeps it so.
"""

from __future__ import annotations

import inspect
import sys

import msgspec

from harness.records.run import RunRecord


def json_schema() -> bytes:
    """Return the schema (JSON Schema 2020-12) of `RunRecord` as indented JSON."""
    schema = msgspec.json.schema(RunRecord)
    for definition in schema["$defs"].values():
        # Python 3.13 takes the indentation out of docstrings, older ones do not.
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(json_schema())
