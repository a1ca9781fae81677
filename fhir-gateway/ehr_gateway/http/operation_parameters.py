"""Input parameters of operations: a Parameters resource, read strictly; typed reasons, checked.

No error repeats what was sent: a reason may hold anything.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.json_text import parse
from ehr_privacy.consent import DOMAINS

__all__ = ["OperationParameters", "parse_parameters", "parse_query", "require_plain_text"]

_LONGEST_TEXT = 500
# Chosen: a text has about three letters in English for each character that it has in Chinese.
_WEIGHT_OF_HAN = 3
_MOST_PARAMETERS = 100
_INTEGER = (r"-?[0-9]{1,10}", int)
# FHIR type -> how its text is written (R4 §2.24.0.1; no more digits than a number needs), and read.
_LEXICAL: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "boolean": ("true|false", "true".__eq__),
    "integer": _INTEGER,
    "positiveInt": _INTEGER,
    "unsignedInt": _INTEGER,
    "decimal": (r"-?[0-9]{1,20}(\.[0-9]{1,20})?", Decimal),
}


@dataclass(frozen=True)
class _Sent:
    """A parameter as it was sent: its place in the list, and its value."""

    index: int
    value: Any


@dataclass(frozen=True)
class _Parts:
    """The parts of a parameter, unread."""

    content: Any


class OperationParameters:
    """The input parameters of one call by name; each method checks the one it returns."""

    def __init__(self, values: dict[str, list[_Sent]]) -> None:
        self._values = values

    def plain_pairs(self) -> list[tuple[str, str]]:
        """Return the parameters of primitive types as they would stand in an address.

        >>> OperationParameters({"full": [_Sent(0, True)]}).plain_pairs()
        [('full', 'true')]
        """
        return [
            (name, str(one.value).lower() if isinstance(one.value, bool) else str(one.value))
            for name, sent in self._values.items()
            for one in sent
            if isinstance(one.value, str | int | Decimal)
        ]

    def text(self, name: str) -> str:
        """Return a text parameter of cardinality 1..1."""
        text = self.optional_text(name)
        if text is None:
            raise Invalid(f"The parameter {name} is missing.", expression="Parameters.parameter")
        return text

    def has(self, name: str) -> bool:
        """Say whether a parameter was sent."""
        return name in self._values

    def reference(self, name: str) -> str:
        """Return a Reference of cardinality 1..1 as text; plain text is taken as one, too."""
        value = self.value(name)
        reference = value.get("reference") if isinstance(value, dict) else value
        if not isinstance(reference, str) or not reference.strip():
            raise _refusal(name, self._values[name][0].index, "must be a reference")
        return reference

    def optional_text(self, name: str) -> str | None:
        """Return a text parameter of cardinality 0..1."""
        sent = self._values.get(name, [])
        if not sent:
            return None
        text = sent[0].value
        if len(sent) > 1 or not isinstance(text, str) or not text.strip():
            raise _refusal(name, sent[0].index, "must be there once, as text")
        return text

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """Return a text parameter of cardinality 0..`most`, without repetitions."""
        sent = self._values.get(name, [])
        for parameter in sent:
            if not isinstance(parameter.value, str) or not parameter.value.strip():
                raise _refusal(name, parameter.index, "must be text")
        if len(sent) > most:
            raise _refusal(name, sent[most].index, f"may be there {most} times")
        return tuple(dict.fromkeys(parameter.value for parameter in sent))

    def integer(self, name: str, least: int, most: int) -> int:
        """Return an integer parameter of cardinality 1..1 within bounds, both included."""
        sent = self._values.get(name, [])
        if len(sent) != 1:
            raise Invalid(
                f"The parameter {name} must be there once.", expression="Parameters.parameter"
            )
        number = sent[0].value
        # In Python a bool is an int.
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise _refusal(name, sent[0].index, f"must be from {least} to {most}")
        return number

    def optional_integer(self, name: str, least: int, most: int) -> int | None:
        """Return an integer parameter of cardinality 0..1 within bounds, both included."""
        return self.integer(name, least, most) if self._values.get(name) else None

    def decimal(self, name: str) -> float:
        """Return a decimal parameter of cardinality 1..1."""
        if len(self._values.get(name, [])) != 1:
            raise Invalid(
                f"The parameter {name} must be there once.", expression="Parameters.parameter"
            )
        return self.decimals(name, 1)[0]

    def optional_decimal(self, name: str) -> float | None:
        """Return a decimal parameter of cardinality 0..1."""
        return self.decimal(name) if self._values.get(name) else None

    def decimals(self, name: str, most: int) -> tuple[float, ...]:
        """Return a decimal parameter of cardinality 0..`most`, in the order of the values."""
        sent = self._values.get(name, [])
        for parameter in sent:
            # In Python a bool is an int. A number that no float holds would be infinite.
            is_number = isinstance(parameter.value, int | Decimal)
            if isinstance(parameter.value, bool) or not is_number or abs(parameter.value) > 1e15:
                raise _refusal(name, parameter.index, "must be a decimal")
        if len(sent) > most:
            raise _refusal(name, sent[most].index, f"may be there {most} times")
        return tuple(float(parameter.value) for parameter in sent)

    def optional_boolean(self, name: str) -> bool:
        """Return a boolean parameter of cardinality 0..1; False when it is not there."""
        sent = self._values.get(name, [])
        if not sent:
            return False
        if len(sent) > 1 or not isinstance(sent[0].value, bool):
            raise _refusal(name, sent[0].index, "must be there once, as a boolean")
        return sent[0].value

    def value(self, name: str) -> Any:
        """Return a parameter of cardinality 1..1 of whatever type."""
        sent = self._values.get(name, [])
        if len(sent) != 1:
            raise Invalid(
                f"The parameter {name} must be there once.", expression="Parameters.parameter"
            )
        return sent[0].value

    def resources(self, name: str, most: int) -> list[dict[str, Any]]:
        """Return a parameter of resources, of cardinality 0..`most`."""
        sent = self._values.get(name, [])
        for parameter in sent:
            if not isinstance(parameter.value, dict):
                raise _refusal(name, parameter.index, "must be a resource")
        if len(sent) > most:
            raise _refusal(name, sent[most].index, f"may be there {most} times")
        return [parameter.value for parameter in sent]

    def identifiers(self, name: str, most: int) -> list[tuple[str, str]]:
        """Return a parameter of Identifiers, of cardinality 0..`most`: system and value of each."""
        sent = self._values.get(name, [])
        found = []
        for parameter in sent:
            value = parameter.value if isinstance(parameter.value, dict) else {}
            pair = (value.get("system"), value.get("value"))
            if not all(isinstance(text, str) and text for text in pair):
                raise _refusal(name, parameter.index, "must be an Identifier of system and value")
            found.append((str(pair[0]), str(pair[1])))
        if len(sent) > most:
            raise _refusal(name, sent[most].index, f"may be there {most} times")
        return found

    def parts(self, name: str, most: int, names: Collection[str]) -> list[OperationParameters]:
        """Return a parameter of parts of some names, of cardinality 0..`most`."""
        sent = self._values.get(name, [])
        if len(sent) > most:
            raise _refusal(name, sent[most].index, f"may be there {most} times")
        found = []
        for parameter in sent:
            place = f"Parameters.parameter[{parameter.index}]"
            if not isinstance(parameter.value, _Parts):
                raise _refusal(name, parameter.index, "must have parts")
            values = _read_values(parameter.value.content, names, (), f"{place}.part")
            found.append(OperationParameters(values))
        return found

    def domains(self, name: str = "domain", *, needed: bool = True) -> tuple[str, ...]:
        """Return a parameter of data domains, without repetitions."""
        sent = self._values.get(name, [])
        for parameter in sent:
            if parameter.value not in DOMAINS:
                raise _refusal(name, parameter.index, "is not a data domain of this server")
        if needed and not sent:
            raise Invalid(f"The parameter {name} is missing.", expression="Parameters.parameter")
        return tuple(dict.fromkeys(str(parameter.value) for parameter in sent))

    def plain_text(self, name: str, least: int) -> str:
        """Return a parameter of cardinality 1..1: plain text of at least so many characters."""
        return require_plain_text(self.text(name), name, least)

    def code(self, name: str, known: Collection[str]) -> str:
        """Return a code parameter of cardinality 1..1 out of the known codes."""
        code = self.text(name)
        if code not in known:
            index = self._values[name][0].index
            raise _refusal(name, index, f"must be one of {', '.join(sorted(known))}")
        return code


def require_plain_text(text: str, name: str, least: int) -> str:
    """Return text as one line; refuse control characters, what is too short or too long.

    A short reason of few different characters, such as `xxxxxxxxxx`, says nothing either. `least`
    is of Latin letters: a Chinese character says as much as several of them.

    >>> require_plain_text("昏迷不醒", "reason", 10)
    '昏迷不醒'
    """
    line = " ".join(text.split())
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co") for character in line):
        raise Unprocessable(
            f"The {name} holds characters that are no text.", expression="Parameters.parameter"
        )
    says_enough = _weigh(line) >= least and _weigh(set(line)) >= min(4, least)
    if not says_enough or len(line) > _LONGEST_TEXT:
        raise Unprocessable(
            f"Type a {name} of {least} to {_LONGEST_TEXT} characters that says something.",
            expression="Parameters.parameter",
        )
    return line


def _weigh(characters: Iterable[str]) -> int:
    """Return how many Latin letters some characters are worth."""
    return sum(
        _WEIGHT_OF_HAN if unicodedata.east_asian_width(character) == "W" else 1
        for character in characters
    )


def parse_parameters(
    body: bytes, *names: str, with_parts: Collection[str] = ()
) -> OperationParameters:
    """Parse a Parameters resource; refuse parameters of other names, and parts of all others."""
    resource = parse(body)
    if resource.get("resourceType") != "Parameters":
        raise Invalid("Send a Parameters resource.", expression="Parameters")
    parameters = resource.get("parameter", [])
    return OperationParameters(_read_values(parameters, names, with_parts, "Parameters.parameter"))


def parse_query(pairs: Iterable[tuple[str, str]], types: Mapping[str, str]) -> OperationParameters:
    """Read the query of a GET by the FHIR types of the parameters (R4 §3.2.0.1.1).

    >>> types = {"count": "integer", "all": "boolean"}
    >>> sent = parse_query([("count", "2"), ("all", "true")], types)
    >>> sent.integer("count", 1, 9), sent.optional_boolean("all")
    (2, True)
    """
    values: dict[str, list[_Sent]] = {}
    for index, (name, text) in enumerate(pairs):
        values.setdefault(name, []).append(_Sent(index, _read_typed(name, text, types[name])))
    return OperationParameters(values)


def _read_typed(name: str, text: str, fhir_type: str) -> Any:
    """Return a value of a query as JSON would have it."""
    if fhir_type not in _LEXICAL:
        return text
    pattern, convert = _LEXICAL[fhir_type]
    if not re.fullmatch(pattern, text):
        raise Invalid(f"The parameter {name} must be of type {fhir_type}.", expression=name)
    return convert(text)


def _read_values(
    parameters: Any, names: Collection[str], with_parts: Collection[str], path: str
) -> dict[str, list[_Sent]]:
    """Return the values of a list of parameters, or of parts, by name."""
    if not isinstance(parameters, list) or len(parameters) > _MOST_PARAMETERS:
        raise Invalid(f"{path} must be a list.", expression=path)
    values: dict[str, list[_Sent]] = {}
    for index, parameter in enumerate(parameters):
        place = f"{path}[{index}]"
        name = str(parameter.get("name")) if isinstance(parameter, dict) else ""
        if name not in names:
            raise Invalid(
                f"The parameters of this operation are {', '.join(names)}.", expression=place
            )
        elements = [key for key in parameter if key.startswith("value") or key == "resource"]
        if name in with_parts and "part" in parameter and not elements:
            values.setdefault(name, []).append(_Sent(index, _Parts(parameter["part"])))
            continue
        if len(elements) != 1:
            raise Invalid(f"The parameter {name} needs one value.", expression=place)
        values.setdefault(name, []).append(_Sent(index, parameter[elements[0]]))
    return values


def _refusal(name: str, index: int, why: str) -> Unprocessable:
    place = f"Parameters.parameter[{index}]"
    return Unprocessable(f"The parameter {name} {why}.", expression=place)
