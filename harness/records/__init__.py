# SPDX-License-Identifier: GPL-2.0-only
"""The frozen types that cross from one stage to the next, split by what they describe.

Everything here is plain data: strings, numbers, tuples and paths as strings, so that each type can
be written to JSON and read back without loss. Sizes are bytes, times are seconds, hashes are
lower-case hex, unless a docstring says otherwise. ``docs/reference/result-schema.md`` describes the
record of a run for readers in other languages.
"""
