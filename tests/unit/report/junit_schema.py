# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML read by parsers that are not its writer: one of XML, and one of the schema."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import xmlschema

from harness.records.run import RunRecord
from harness.report import junit

_SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[2] / "data" / "report" / "junit.xsd")


def read(record: RunRecord) -> ElementTree.Element:
    """Return the root of a record's document, which is valid."""
    return parse(junit.render(record))


def parse(document: bytes) -> ElementTree.Element:
    """Return the root of a document.

    Raises:
        xmlschema.XMLSchemaValidationError: if it is not as CI servers read it.
    """
    root = ElementTree.fromstring(document)  # noqa: S314 - we wrote it ourselves
    _SCHEMA.validate(root)
    return root
