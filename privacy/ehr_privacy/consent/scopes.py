"""SMART scopes: parsing (v1 and v2) and which interaction needs which letter.

A v2 scope may be limited by search parameters, such as `?category=http://...|laboratory`. Offered
are those that the index answers exactly, for reading and finding; any other is refused, never
passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ehr_fhir.errors import Invalid
from ehr_fhir.index.rows import duplicate_parameters, indexed_parameters
from ehr_fhir.search_parameters import official_parameters
from ehr_fhir.token_keys import search_keys

# SMART App Launch 2.2 §3: r covers read, vread and the history of one instance; s every search
# and the history of a type or the system.
_LETTER = {
    "read": "r",
    "vread": "r",
    "history": "r",
    "search": "s",
    "history-type": "s",
    "history-system": "s",
    "create": "c",
    "update": "u",
    "patch": "u",
    "delete": "d",
}
_V1 = {"read": "rs", "write": "cud", "*": "cruds"}
_CLINICAL = re.compile(
    r"(?P<context>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]+)\.(?P<rights>[a-z]+|\*)"
    r"(?P<query>\?.*)?"
)
_V2 = re.compile(r"c?r?u?d?s?")
_NAMED = frozenset(
    "openid fhirUser profile launch launch/patient launch/encounter offline_access "
    "online_access ehr/feed.read ehr/introspect ehr/access".split()
)


# A value of one token parameter in a record's index: parameter, system, code.
Token = tuple[str, str, str]
# Chosen: each value is a comparison in the predicate of every request with the token.
_MAX_VALUES = 20


@dataclass(frozen=True)
class Limit:
    """One search parameter of a scope: the record has one of the values."""

    parameter: str
    # System (None: any) and the code's key in the index (`ehr_fhir.token_keys`).
    values: tuple[tuple[str | None, str], ...]

    def holds(self, tokens: Iterable[Token]) -> bool:
        """Say whether a record with these values in the index is within the limit."""
        return any(
            name == self.parameter and code == wanted and system in (None, found)
            for name, found, code in tokens
            for system, wanted in self.values
        )


@dataclass(frozen=True)
class Scope:
    """One granted scope: `patient`, `user` or `system` rights on a type, or a named scope."""

    context: str
    type: str = ""
    rights: frozenset[str] = frozenset()
    # All of them must hold.
    limits: tuple[Limit, ...] = ()

    def covers_tokens(self, tokens: Iterable[Token]) -> bool:
        """Say whether a record with these values in the index is within all limits."""
        return all(limit.holds(tokens) for limit in self.limits)


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """Parse a space-separated scope string; an unknown scope is an error, never ignored.

    >>> [scope.type for scope in parse_scopes("openid user/*.rs patient/Observation.read")]
    ['', '*', 'Observation']
    """
    return tuple(_parse(word) for word in text.split())


def interaction_letter(interaction: str) -> str:
    """Return the SMART v2 letter an interaction needs."""
    return _LETTER[interaction]


def covers_interaction(
    scopes: Iterable[Scope],
    interaction: str,
    resource_type: str,
    *,
    in_patient: bool,
    tokens: frozenset[Token] = frozenset(),
) -> bool:
    """Say whether scopes cover an interaction on a type.

    `in_patient` says whether the record lies in the compartment of the token's own patient (or
    carries no patient at all): `patient/` scopes reach no further. `tokens` are the record's values
    in the index; without them no limited scope covers it.
    """
    scopes = scopes_on_type(scopes, interaction, resource_type, in_patient=in_patient)
    return any(scope.covers_tokens(tokens) for scope in scopes)


def scopes_on_type(
    scopes: Iterable[Scope], interaction: str, resource_type: str, *, in_patient: bool
) -> tuple[Scope, ...]:
    """Return the scopes that give the right to an interaction on a type, limited ones included.

    Limits are for each record to meet: see `Scope.covers_tokens`.

    >>> [scope.type for scope in scopes_on_type(
    ...     parse_scopes("user/*.rs user/Consent.c"), "create", "Consent", in_patient=False
    ... )]
    ['Consent']
    """
    letter = interaction_letter(interaction)
    return tuple(
        scope
        for scope in scopes
        if letter in scope.rights
        and scope.type in ("*", resource_type)
        and (in_patient or scope.context != "patient")
    )


def covers_type(scopes: Iterable[Scope], interaction: str, resource_type: str) -> bool:
    """Say whether scopes cover an interaction on at least some records of a type.

    >>> covers_type(parse_scopes("patient/Observation.rs?code=718-7"), "search", "Observation")
    True
    >>> covers_type(parse_scopes("patient/Observation.r"), "search", "Observation")
    False
    """
    return bool(scopes_on_type(scopes, interaction, resource_type, in_patient=True))


def has_scope(scopes: Iterable[Scope], name: str) -> bool:
    """Say whether a named scope such as `ehr/feed.read` was granted."""
    return any(scope.context == name and not scope.type for scope in scopes)


def _parse(word: str) -> Scope:
    if word in _NAMED:
        return Scope(word)
    match = _CLINICAL.fullmatch(word)
    if match is None:
        raise Invalid("The scope is not one this server knows.", expression="scope")
    rights = _V1.get(match["rights"], match["rights"])
    if not _V2.fullmatch(rights):
        raise Invalid(
            "A scope's rights are read, write, *, or letters of cruds in that order.",
            expression="scope",
        )
    limits = _limits(match["type"], rights, match["query"][1:]) if match["query"] else ()
    return Scope(match["context"], match["type"], frozenset(rights), limits)


def _limits(resource_type: str, rights: str, query: str) -> tuple[Limit, ...]:
    if set(rights) - {"r", "s"}:
        raise _refused("limit reading and finding (r, s) alone")
    if resource_type in ("*", "AuditEvent"):
        raise _refused("limit one type of record")
    return tuple(_limit(resource_type, *part.partition("=")[::2]) for part in query.split("&"))


def _limit(resource_type: str, name: str, text: str) -> Limit:
    if name not in _limiting(resource_type):
        raise _refused("are token parameters of the type, without modifiers")
    values = tuple(_value(value_text) for value_text in text.split(","))
    if len(values) > _MAX_VALUES:
        raise _refused(f"have {_MAX_VALUES} values at most")
    if official_parameters(resource_type)[name].datatypes <= {"code"}:
        # The system of a plain code is fixed by its element, and not in the index.
        values = tuple((None, code) for _, code in values)
    datatypes = official_parameters(resource_type)[name].datatypes
    # As the index holds them.
    values = tuple(
        (system, key) for system, code in values for key in search_keys(datatypes, system, code)
    )
    return Limit(duplicate_parameters(resource_type).get(name, name), values)


def _value(text: str) -> tuple[str | None, str]:
    system, bar, code = text.rpartition("|")
    if not code or (bar and not system) or set(text) & set("\\%$|") - set(bar) or "|" in system:
        raise _refused("have values of the form code or system|code")
    return system if bar else None, code


@cache
def _limiting(resource_type: str) -> frozenset[str]:
    """Return the parameters that may limit a scope on a type: what they find is in the index."""
    mine = {
        parameter.code
        for parameter in indexed_parameters(resource_type)
        if parameter.type == "token"
    }
    same = {code for code, first in duplicate_parameters(resource_type).items() if first in mine}
    return frozenset(code for code in mine | same if not code.startswith("_"))


def _refused(text: str) -> Invalid:
    return Invalid(f"The search parameters of a scope {text}.", expression="scope")
