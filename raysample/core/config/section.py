"""What all sections share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from raysample.core.config import yaml_text
from raysample.core.redaction import credentials, redact_address
from raysample.core.registry import PLUGIN_PATTERN

HOLDS_CREDENTIALS = "holds_credentials"
"""The type of the error for an address with a password or token in it; its message has it without."""
RENAMED = "renamed"
"""The type of the error for the former name of a key; its message has both names."""
UNSOUND = "unsound"
"""The type of the error for what no key takes; its message names the key."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""
Count = Annotated[int, Field(ge=1, lt=2**31)]
Place = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A path, address or name that goes into paths: no control characters."""

PluginName = Annotated[str, Field(pattern=PLUGIN_PATTERN, max_length=200)]
"""A plug-in: a dotted path `package.module:Class`, or the name of an entry point."""


def _without_credentials(value: str) -> str:
    """Refuse an address with credentials: addresses of data are stored and shown."""
    kind = credentials(value)
    if kind:
        raise PydanticCustomError(
            HOLDS_CREDENTIALS,
            "{address} holds {kind}, and addresses of data are stored and shown: give it by the environment or by the "
            "credential file of that storage",
            {"address": repr(redact_address(value)), "kind": kind},
        )
    return value


Address = Annotated[Place, AfterValidator(_without_credentials)]
"""Location of data or models, without credentials."""


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, and numbers and texts without bound."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former name of a key -> its name."""

    @model_validator(mode="before")
    @classmethod
    def _sound(cls, data: Any) -> Any:
        """Refuse former names of keys, infinite numbers, endless texts, and data that nests without end."""
        if isinstance(data, dict):
            for key in data.keys() & cls.renamed.keys():
                raise PydanticCustomError(
                    RENAMED, "the key {old} is now called {new}", {"old": repr(key), "new": repr(cls.renamed[key])}
                )
            for problem in yaml_text.unsound(data):
                raise PydanticCustomError(UNSOUND, "{problem}", {"problem": problem})
        return data

    def to_dict(self) -> dict[str, Any]:
        """Return the section as JSON-able data (what manifests store and fingerprints are made of)."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data
