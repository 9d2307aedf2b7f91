"""An eval's ``item_schema``: is it a JSON Schema, and does an item fit it."""

from __future__ import annotations

import hashlib
from typing import Any

from common.errors import InvalidInput, Unsupported
from common.schemas import jsonschemas
from functions.tasks.evals.plainschema import plainly_fits


class ItemSchema:
    """A compiled schema, as safe as `common.schemas.jsonschemas` makes it."""

    def __init__(self, schema: dict[str, Any], *, pointer: str = "") -> None:
        """Compile `schema`, which stands at `pointer` in the request.

        Raises:
            InvalidInput: not a valid JSON Schema; the pointer names the place within.
            Unsupported: it refers to another document, or has a pattern that cannot be matched in linear time.
        """
        try:
            self.digest = hashlib.sha256(jsonschemas.canonical(schema)).hexdigest()
            self._schema = jsonschemas.JsonSchema(schema)
            self._plainly_fits = plainly_fits(schema)
        except jsonschemas.SchemaError as error:
            kind = Unsupported if error.unsupported else InvalidInput
            raise kind(error.message, pointer=pointer + jsonschemas.pointer(error.path)) from None

    def check_line(self, line: dict[str, Any], *, where: str, pointer: str) -> None:
        """Check a row ``{"item": {...}, "sample"?: {...}}``; `where` names it for people, `pointer` in the request.

        Raises:
            InvalidInput: naming the row, the field and what was expected there.
        """
        item, sample = line.get("item"), line.get("sample")
        if not isinstance(item, dict):
            raise InvalidInput(f"{where}: expected an object under 'item'", pointer=f"{pointer}/item")
        if sample is not None and not isinstance(sample, dict):
            raise InvalidInput(f"{where}: expected an object under 'sample'", pointer=f"{pointer}/sample")
        if sample is not None and not isinstance(sample.get("output_text"), str | None):
            raise InvalidInput(f"{where}: sample: output_text is no text", pointer=f"{pointer}/sample/output_text")
        for path, message in self._faults(item, where, pointer):
            raise InvalidInput(f"{where}: item{path}: {message}", pointer=f"{pointer}/item{path}")

    def _faults(self, item: dict[str, Any], where: str, pointer: str) -> list[tuple[str, str]]:
        if self._plainly_fits is not None and self._plainly_fits(item):
            return []
        try:
            return self._schema.faults(item)
        except jsonschemas.CannotApplyError as error:
            message = f"{where}: the eval's item_schema cannot be applied: {error}"
            raise InvalidInput(message, pointer=pointer) from None
