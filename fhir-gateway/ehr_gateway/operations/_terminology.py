"""What the operations of terminology share: their parameters, their library, their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ehr_fhir.errors import Invalid, NotFound, TooCostly, Unprocessable
from ehr_fhir.json_text import parse
from ehr_fhir.terminology.code_system import CodeSystem, MemoryCodeSystem
from ehr_fhir.terminology.code_validation import CodeToCheck
from ehr_fhir.terminology.concepts import accepted_languages
from ehr_fhir.terminology.library import Library
from ehr_fhir.terminology.supplements import SupplementedLibrary, named_supplements
from ehr_fhir.terminology.value_sets import (
    Versions,
    find_code_system,
    find_value_set,
    split_canonical,
)
from ehr_fhir.validation.validate import validate
from ehr_gateway.database import Connection
from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Parameter
from ehr_gateway.search.page import search_on
from ehr_gateway.search.stored_library import library_of
from ehr_gateway.store.store import Version

__all__ = [
    "CALLERS",
    "COMMON_PARAMETERS",
    "VERSION_PARAMETERS",
    "Terms",
    "begin_terms",
    "coded_values",
    "open_terms",
    "part",
    "read_code_system",
    "read_value_set",
    "typed_parameter",
]

CALLERS = "whoever may search CodeSystem, ValueSet and ConceptMap"
COMMON_PARAMETERS = (
    Parameter("displayLanguage", "code", "Language of the names; else Accept-Language says it"),
    Parameter(
        "tx-resource", "Resource",
        "A CodeSystem, ValueSet or ConceptMap that is taken as if it were here", most="*",
    ),
    Parameter(
        "useSupplement", "canonical",
        "A supplement of a code system, whose names of codes are taken, too", most="*",
    ),
)  # fmt: skip
VERSION_PARAMETERS = (
    Parameter(
        "system-version", "canonical",
        "`system|version` of a code system where the value set names no version", most="*",
    ),
    Parameter(
        "force-system-version", "canonical",
        "`system|version` that is used whatever the value set names", most="*",
    ),
    Parameter(
        "check-system-version", "canonical",
        "`system|version`: refused where the value set names another version", most="*",
    ),
)  # fmt: skip
# Resources that one search for a url or a code returns at most. Chosen: versions of one resource.
_MOST_FOUND = 50
_MOST_SENT = 50
_TYPES = ("CodeSystem", "ValueSet", "ConceptMap")


@dataclass(frozen=True)
class Terms:
    """One call: what was sent, and the library that answers it."""

    call: OperationCall
    sent: OperationParameters
    library: Library
    languages: tuple[str, ...]
    find: Callable[[str, Sequence[tuple[str, str]]], Sequence[Version]]

    def read_instance(self) -> Mapping[str, Any] | None:
        """Return the resource that is called, None at the type level; raise NotFound."""
        if not self.call.logical_id:
            return None
        found = self.find(self.call.resource_type, [("_id", self.call.logical_id)])
        if not found:
            raise NotFound(f"There is no such {self.call.resource_type}.")
        body: Mapping[str, Any] = parse(found[0].body)
        return body

    def with_supplements_of(self, value_set: Mapping[str, Any]) -> Terms:
        """Return the terms with the supplements that a value set needs."""
        names = named_supplements(value_set)
        return replace(self, library=SupplementedLibrary(self.library, names)) if names else self

    def resource(self, name: str, kind: str) -> Mapping[str, Any] | None:
        """Return a resource that was sent as a parameter."""
        found = self.sent.resources(name, 1)
        if found and found[0].get("resourceType") != kind:
            raise Unprocessable(f"The parameter {name} must be a {kind}.", expression="Parameters")
        for resource in found:
            validate(resource)
        return found[0] if found else None

    def versions(self) -> Versions:
        """Return the versions of code systems that are asked for."""
        return Versions(
            self._canonicals("system-version"), self._canonicals("force-system-version")
        )

    def checked_versions(self) -> Mapping[str, str]:
        """Return the versions that a value set may name at most."""
        return self._canonicals("check-system-version")

    def _canonicals(self, name: str) -> dict[str, str]:
        pairs = (split_canonical(one) for one in self.sent.texts(name, _MOST_SENT))
        return {url: version for url, version in pairs if version}


@contextmanager
def open_terms(call: OperationCall) -> Iterator[Terms]:
    """Begin a call: refuse a token that does not cover searching, read what was sent."""
    call.context.access.require_scope("search", *_TYPES)
    sent = call.parse_input()
    with call.context.gateway.store.read_transaction() as connection:
        yield begin_terms(call, sent, connection)
    call.record()


def begin_terms(call: OperationCall, sent: OperationParameters, connection: Connection) -> Terms:
    """Return the terms of a call on an open connection; refuse a token that does not cover them."""
    context = call.context
    store, access = context.gateway.store, context.access
    access.require_scope("search", *_TYPES)

    def find(kind: str, pairs: Sequence[tuple[str, str]]) -> Sequence[Version]:
        return search_on(
            connection, store, access, kind, [*pairs, ("_count", str(_MOST_FOUND))]
        ).matches

    header = sent.optional_text("displayLanguage") or context.request.headers.get(
        "accept-language", ""
    )
    resources = sent.resources("tx-resource", _MOST_SENT)
    for resource in resources:
        validate(resource)
    library = library_of(connection, find, resources)
    if names := sent.texts("useSupplement", _MOST_SENT):
        library = SupplementedLibrary(library, names)
    return Terms(call, sent, library, accepted_languages(header), find)


def read_code_system(terms: Terms, url: str | None, version: str | None) -> CodeSystem:
    """Return the code system that a call is about: its instance, or by its url."""
    if resource := terms.read_instance():
        named = terms.library.code_system(str(resource.get("url", "")), resource.get("version"))
        return named or MemoryCodeSystem(resource)
    if url is None:
        raise Invalid("Name the code system by `system`, or send a coding.", expression="system")
    named_url, named_version = split_canonical(url)
    return find_code_system(terms.library, named_url, version or named_version)


def read_value_set(terms: Terms) -> Mapping[str, Any]:
    """Return the value set that a call is about: its instance, one that was sent, or by its url."""
    if resource := terms.read_instance() or terms.resource("valueSet", "ValueSet"):
        return resource
    url = terms.sent.optional_text("url")
    if url is None:
        raise Invalid("Name the value set by `url`, or send it as `valueSet`.", expression="url")
    version = terms.sent.optional_text("valueSetVersion")
    return find_value_set(terms.library, f"{url}|{version}" if version else url)


def coded_values(
    sent: OperationParameters, system_name: str, version_name: str
) -> list[CodeToCheck]:
    """Return the codes that were sent: as `code`, `coding` or `codeableConcept`, one of them."""
    named = [name for name in ("code", "coding", "codeableConcept") if sent.has(name)]
    if len(named) != 1:
        raise Invalid(
            "Send one of code, coding and codeableConcept.", expression="Parameters.parameter"
        )
    if named == ["code"]:
        return [
            CodeToCheck(
                sent.optional_text(system_name),
                sent.text("code"),
                sent.optional_text(version_name),
                sent.optional_text("display"),
                "code",
            )
        ]
    value = sent.value(named[0])
    if not isinstance(value, dict):
        raise Unprocessable(f"The parameter {named[0]} must be a {named[0]}.", expression=named[0])
    if named == ["coding"]:
        return [_read_coding(value, "coding")]
    codings = value.get("coding", [])
    if not isinstance(codings, list) or not codings:
        raise Unprocessable("The codeableConcept has no coding.", expression="codeableConcept")
    if len(codings) > _MOST_SENT:
        raise TooCostly(f"The codeableConcept has more than {_MOST_SENT} codings.")
    return [
        _read_coding(coding, f"codeableConcept.coding[{index}]")
        for index, coding in enumerate(codings)
    ]


def _read_coding(coding: Any, path: str) -> CodeToCheck:  # Any: JSON as it was sent
    names = ("system", "code", "version", "display")
    if not isinstance(coding, dict) or any(
        not isinstance(coding.get(name, ""), str) for name in names
    ):
        raise Unprocessable(
            "A coding has a system, a code, a version and a display.", expression=path
        )
    if not coding.get("code"):
        raise Unprocessable("The coding has no code.", expression=path)
    return CodeToCheck(
        coding.get("system"), coding["code"], coding.get("version"), coding.get("display"), path
    )


def typed_parameter(name: str, kind: str, value: object) -> dict[str, Any]:
    """Return an output parameter of a type, such as `code`."""
    return {"name": name, f"value{kind[0].upper()}{kind[1:]}": value}


def part(name: str, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an output parameter that has parts."""
    return {"name": name, "part": list(parts)}
