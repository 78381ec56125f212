"""What all sections share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Keys that came after folders were made: left out of what is stored while they have their default, so that the
    # fingerprints and keys of finished work stay what they are.
    added_later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        unset = [
            name
            for name in self.added_later
            if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        ]
        return {name: value for name, value in data.items() if name not in unset}

    def plain(self) -> dict[str, Any]:
        """Return the section as JSON-able data (what manifests store and fingerprints are made of)."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data
