"""What operations take: a Parameters resource, read strictly; typed reasons, checked.

No error repeats what was sent: a reason may hold anything.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Any

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.json_text import parse
from ehr_privacy.consent import DOMAINS

__all__ = ["OperationParameters", "parse_parameters"]

_MOST_REASON = 500
_MOST = 100


class OperationParameters:
    """The parameters of one call by name."""

    def __init__(self, values: dict[str, list[tuple[int, Any]]]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return a parameter that must be there once as text."""
        found = self.optional_text(name)
        if found is None:
            raise Invalid(f"The parameter {name} is missing.", expression="Parameters.parameter")
        return found

    def optional_text(self, name: str) -> str | None:
        """Return a parameter that may be there once as text."""
        values = self._values.get(name, [])
        if not values:
            return None
        number, value = values[0]
        if len(values) > 1 or not isinstance(value, str) or not value.strip():
            raise self._wrong(name, number, "must be there once, as text")
        return value

    def integer(self, name: str, least: int, most: int) -> int:
        """Return a whole number within bounds."""
        values = self._values.get(name, [])
        if len(values) != 1:
            raise Invalid(
                f"The parameter {name} must be there once.", expression="Parameters.parameter"
            )
        number, value = values[0]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._wrong(name, number, f"must be from {least} to {most}")
        return value

    def domains(self, name: str = "domain", *, needed: bool = True) -> tuple[str, ...]:
        """Return data domains, each once."""
        values = self._values.get(name, [])
        for number, value in values:
            if value not in DOMAINS:
                raise self._wrong(name, number, "is not a data domain of this server")
        if needed and not values:
            raise Invalid(f"The parameter {name} is missing.", expression="Parameters.parameter")
        return tuple(dict.fromkeys(str(value) for _, value in values))

    def reason(self, least: int) -> str:
        """Return the typed reason: plain text long enough to say something."""
        return require_plain_text(self.text("reason"), "reason", least)

    def code(self, name: str, known: Collection[str]) -> str:
        """Return a code out of a list."""
        found = self.text(name)
        if found not in known:
            number = self._values[name][0][0]
            raise self._wrong(name, number, f"must be one of {', '.join(sorted(known))}")
        return found

    @staticmethod
    def _wrong(name: str, number: int, why: str) -> Unprocessable:
        place = f"Parameters.parameter[{number}]"
        return Unprocessable(f"The parameter {name} {why}.", expression=place)


def require_plain_text(text: str, name: str, least: int) -> str:
    """Return text as one line of words; refuse what is too short, too long, or no text."""
    line = " ".join(text.split())
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co") for letter in line):
        raise Unprocessable(
            f"The {name} holds characters that are no text.", expression="Parameters.parameter"
        )
    if not least <= len(line) <= _MOST_REASON or len(set(line)) < min(4, least):
        raise Unprocessable(
            f"Type a {name} of {least} to {_MOST_REASON} characters that says something.",
            expression="Parameters.parameter",
        )
    return line


def parse_parameters(body: bytes, *names: str) -> OperationParameters:
    """Read a Parameters resource with these parameters and no others."""
    resource = parse(body)
    if resource.get("resourceType") != "Parameters":
        raise Invalid("Send a Parameters resource.", expression="Parameters")
    listed = resource.get("parameter", [])
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise Invalid("Parameters.parameter must be a list.", expression="Parameters.parameter")
    values: dict[str, list[tuple[int, Any]]] = {}
    for number, one in enumerate(listed):
        place = f"Parameters.parameter[{number}]"
        name = one.get("name") if isinstance(one, dict) else None
        if name not in names:
            raise Invalid(
                f"The parameters of this operation are {', '.join(names)}.", expression=place
            )
        held = [key for key in one if key.startswith("value")]
        if len(held) != 1:
            raise Invalid(f"The parameter {name} needs one value.", expression=place)
        values.setdefault(name, []).append((number, one[held[0]]))
    return OperationParameters(values)
