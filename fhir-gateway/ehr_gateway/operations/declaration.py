"""What an operation says of itself, in the terms of FHIR's OperationDefinition.

Route, scope check, audit entry, CapabilityStatement and docs page are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ehr_gateway.http.authentication import ACCESS_SCOPE

__all__ = ["ANY_TYPE", "Level", "Operation", "Parameter"]

Level = Literal["system", "type", "instance"]
Input = Literal["query", "body", "either"]
ANY_TYPE = "*"


@dataclass(frozen=True)
class Parameter:
    """One input parameter; `most` is `1` or `*`, as in OperationDefinition.parameter.max."""

    name: str
    type: str
    documentation: str
    least: int = 0
    most: str = "1"
    # Where it is taken; at every level of the operation when empty.
    levels: tuple[Level, ...] = ()
    # Of which types it is taken; of all that the operation is about when empty.
    resource_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """The declaration of one operation."""

    # Without the sign: `withheld` is called as `$withheld`.
    name: str
    # One sentence in the imperative.
    summary: str
    levels: tuple[Level, ...]
    # Called by POST when it changes something.
    affects_state: bool
    # For people: who may call it.
    callers: str
    # None at the system level alone; ANY_TYPE stands for all of them.
    resource_types: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    # What a person's token must cover; programs are judged by what they are.
    required_scope: str | None = ACCESS_SCOPE
    # What the audit log calls it: the subtype, and the query (`$name` when nothing is said).
    audit_code: str = "operation"
    audit_query: str = ""
    # Where an operation that changes nothing takes its parameters: in the query of a GET, in the
    # body of a POST (so that an address holds nothing of a person), or in either. One that changes
    # something takes them by a POST, or in either.
    input: Input = "query"
    # Of the instance level, where it is called on other types than at the type level.
    instance_types: tuple[str, ...] = ()
    # The canonical address of the operation that a standard defines, by the type it is about: "" at
    # the system level, ANY_TYPE for all. What is taken of it, and what not, its page says.
    standards: Mapping[str, str] = field(default_factory=dict)
    # The type of the resource that it answers; empty where it answers without one.
    returns: str = "Parameters"

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the HTTP methods that call it (R4 §3.2.0)."""
        if self.affects_state and self.input == "either":
            return ("GET", "POST")
        if self.affects_state or self.input == "body":
            return ("POST",)
        return ("GET", "HEAD", "POST") if self.input == "either" else ("GET", "HEAD")

    def parameters_at(self, level: Level, resource_type: str = "") -> dict[str, str]:
        """Return the types of the parameters that are taken at one level, of one type, by name."""
        return {
            parameter.name: parameter.type
            for parameter in self.parameters
            if (not parameter.levels or level in parameter.levels)
            and (not parameter.resource_types or resource_type in parameter.resource_types)
        }

    def types_at(self, level: Level) -> tuple[str, ...]:
        """Return the types on which it is called at the type or the instance level."""
        return (level == "instance" and self.instance_types) or self.resource_types

    def definition_id(self, resource_type: str = "") -> str:
        """Return the id of the OperationDefinition of its calls on a type, or on the system.

        It has one for each standard that it serves, since a standard defines its operation anew for
        each type.
        """
        is_several = len(self.standards) > 1
        return f"{resource_type}-{self.name}" if is_several and resource_type else self.name

    def paths(self) -> list[tuple[Level, str, str]]:
        """Return each address: its level, the type it is about (or none), its path.

        >>> Operation("x", "Do it.", ("instance",), True, "all", ("Patient",)).paths()
        [('instance', 'Patient', '/fhir/Patient/{patient}/$x')]
        """
        found: list[tuple[Level, str, str]] = []
        for level in self.levels:
            if level == "system":
                found.append((level, "", f"/fhir/${self.name}"))
                continue
            for resource_type in self.types_at(level):
                about = "{resource_type}" if resource_type == ANY_TYPE else resource_type
                if level == "instance":
                    about += "/{patient}" if resource_type == "Patient" else "/{logical_id}"
                found.append((level, resource_type, f"/fhir/{about}/${self.name}"))
        return found
