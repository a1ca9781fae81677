"""What a new version does to a record: which acts of the table of rights it amounts to.

Deletion has other names: to mark a record as entered in error, or to take away what it says. A
version that does so is judged as deletion, by whichever interaction it comes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import orjson

from ehr_fhir import definitions
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.consent.change_rights import Act
from ehr_privacy.consent.model import Record

__all__ = [
    "act_of_deletion",
    "acts_of_creation",
    "acts_of_update",
    "identity_elements",
    "is_entered_in_error",
    "mark_entered_in_error",
]

Json = Mapping[str, Any]  # JSON of every shape

_ENTERED_IN_ERROR = "entered-in-error"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_TIMES = frozenset({"date", "dateTime", "instant", "Period", "Timing"})
# With one of them, the other ways to say when something was: at an age, or in words.
_WHEN = _TIMES | {"Age", "Range", "string"}
# Datatypes that say where a record comes from or by which name it goes, and not what it tells.
_ABOUT_THE_RECORD = frozenset({"Annotation", "canonical", "Identifier", "uri"})
# Elements of every type, and those that tell of the record's own state or of who made it.
_FRAME = frozenset({
    "category", "classHistory", "contained", "dataAbsentReason", "extension", "id",
    "implicitRules", "language", "meta", "modifierExtension", "performer", "performerType",
    "priority", "statusHistory", "statusReason", "text",
})  # fmt: skip
# References whose targets are what the record tells: a report without its results tells nothing.
_TELLING_REFERENCES = frozenset({
    "addresses", "goal", "hasMember", "imagingStudy", "member", "result",
})  # fmt: skip
# Codes of FHIR and of HL7 v3 for a value that is not there.
_ABSENT_SYSTEMS = frozenset({
    f"{_TERMINOLOGY}/data-absent-reason",
    f"{_TERMINOLOGY}/v3-NullFlavor",
})  # fmt: skip
_VERIFICATION_SYSTEMS = {
    "AllergyIntolerance": "allergyintolerance-verification",
    "Condition": "condition-ver-status",
}
# By datatype, the parts of which one at least has to be there: a unit alone is no quantity.
_QUANTITY = frozenset({"value"})
_ESSENTIAL = {
    "Age": _QUANTITY,
    "Attachment": frozenset({"data", "url"}),
    "Count": _QUANTITY,
    "Distance": _QUANTITY,
    "Duration": _QUANTITY,
    "Money": _QUANTITY,
    "Quantity": _QUANTITY,
    "SampledData": frozenset({"data"}),
}
_BESIDE_THE_VALUE = frozenset({"extension", "id", "system", "unit"})
_TELLING_CHARACTER = re.compile(r"\w")
_IDENTITY = ("name", "birthDate", "_birthDate", "gender", "_gender")
# The narrative says again what the elements say.
_IDENTITY_OR_FRAME = frozenset({*_IDENTITY, "active", "id", "identifier", "link", "meta", "text"})
# Codes of HL7 v2 table 0203 for documents that prove who somebody is: national numbers, passport,
# birth certificate, driving licence, social security.
_IDENTITY_DOCUMENT = re.compile(r"^(?:NI|NN[A-Z]{0,3}|PPN|PRC|BCT|BR|BRN|DL|SS|SB|CZ|TPR)$")


def acts_of_creation(resource: Json) -> frozenset[Act]:
    """Return what the first version of a resource does beyond creating it."""
    is_linked = resource["resourceType"] == "Patient" and bool(resource.get("link"))
    return frozenset({"person-link"}) if is_linked else frozenset()


def act_of_deletion(record: Record) -> Act:
    """Return the act that deleting a record is; bringing a person or an entry back is the same."""
    if record.type == "Patient":
        return "person-delete"
    return "directory-delete" if record.directory else "delete"


def acts_of_update(
    before: Json,
    after: Json,
    record_before: Record,
    record_after: Record,
    *,
    restores: bool = False,
) -> frozenset[Act]:
    """Return the acts that a new version of a resource amounts to.

    `restores`: the resource is deleted now, and `before` is what it said until then.
    """
    acts: set[Act] = set()
    if restores:
        act = act_of_deletion(record_before)
        acts.add("restore" if act == "delete" else act)
    if record_before.type == "Patient":
        return frozenset(acts | _acts_on_person(before, after))
    if record_before.directory:
        acts.add("directory-change")
        if record_after.directory:
            return frozenset(acts)
    acts.add("correct")
    if record_before.patients != record_after.patients:
        acts.add("move")
    if is_entered_in_error(before) != is_entered_in_error(after):
        acts.add("mark-wrong")
    if _empties(before, after):
        acts.add("empty")
    return frozenset(acts)


def is_entered_in_error(resource: Json) -> bool:
    """Say whether a resource declares itself a mistake, by a code of its type or by `active`.

    >>> is_entered_in_error({"resourceType": "Observation", "status": "entered-in-error"})
    True
    """
    kind = resource["resourceType"]
    if _ENTERED_IN_ERROR in {
        code for name in _error_elements(kind) for code in _codes(resource.get(name))
    }:
        return True
    return "active" in definitions.json_elements(kind) and resource.get("active") is False


def mark_entered_in_error(resource: dict[str, Any]) -> bool:
    """Mark a resource as entered in error, in place; return False if its type has no such mark.

    >>> condition = {"resourceType": "Condition"}
    >>> mark_entered_in_error(condition), sorted(condition)
    (True, ['resourceType', 'verificationStatus'])
    """
    kind = resource["resourceType"]
    coded = [
        name
        for name in _error_elements(kind)
        if _ENTERED_IN_ERROR in (definitions.required_codes(kind, name) or ())
    ]
    if coded:
        # Of a document, which has two, the one of the record itself.
        resource["status" if "status" in coded else coded[0]] = _ENTERED_IN_ERROR
    elif "verificationStatus" in definitions.json_elements(kind):
        system = f"{_TERMINOLOGY}/{_VERIFICATION_SYSTEMS[kind]}"
        resource["verificationStatus"] = {"coding": [{"system": system, "code": _ENTERED_IN_ERROR}]}
        # Invariants con-5 and ait-2: what is a mistake has no clinical status.
        resource.pop("clinicalStatus", None)
    elif "active" in definitions.json_elements(kind):
        resource["active"] = False
    else:
        return False
    return True


def identity_elements(patient: Json) -> Mapping[str, Any]:
    """Return by what a person is recognised: names, birth date, sex, identity documents.

    >>> identity_elements({"resourceType": "Patient", "gender": "female", "active": True})
    {'gender': 'female'}
    """
    elements = {name: patient[name] for name in _IDENTITY if name in patient}
    documents = [item for item in _objects(patient.get("identifier")) if _is_document(item)]
    return {**elements, "identifier": documents} if documents else elements


def _acts_on_person(before: Json, after: Json) -> frozenset[Act]:
    acts: set[Act] = set()
    # Most updates leave these elements as they are: no copy of them is made then.
    is_same = all(before.get(name) == after.get(name) for name in (*_IDENTITY, "identifier"))
    if not is_same and _identity(before) != _identity(after):
        acts.add("person-identity")
    if _canonical(before.get("link")) != _canonical(after.get("link")):
        acts.add("person-link")
    # To use a record again is the same decision as not to use it.
    if is_entered_in_error(before) != is_entered_in_error(after):
        acts.add("person-inactive")
    if not acts or _details(before) != _details(after):
        acts.add("person-details")
    return frozenset(acts)


def _details(patient: Json) -> Mapping[str, object]:
    """Return what else a Patient says: addresses, telephone numbers, numbers of hospitals."""
    details = {key: value for key, value in patient.items() if key not in _IDENTITY_OR_FRAME}
    numbers = [item for item in _objects(patient.get("identifier")) if not _is_document(item)]
    return {**details, "identifier": _canonical(numbers or None)}


def _identity(patient: Json) -> Mapping[str, object]:
    """Return the elements of identity in a form in which the order of repetitions says nothing."""
    return {name: _canonical(value) for name, value in identity_elements(patient).items()}


def _is_document(identifier: Json) -> bool:
    """Say whether an identifier is of an identity document: by its type, its system or its form.

    Systems are spelled in many ways, so the last part decides; and whatever passes the check of the
    jurisdiction's own number counts as one.
    """
    person_identifier = JURISDICTION.person_identifier
    system, value = identifier.get("system"), identifier.get("value")
    if isinstance(system, str) and _last_part(system) == _last_part(person_identifier.system):
        return True
    if isinstance(value, str) and person_identifier.is_valid(value):
        return True
    return any(_IDENTITY_DOCUMENT.match(code) for code in _codes(identifier.get("type")))


def _last_part(system: str) -> str:
    """Return the last part of an identifier system.

    >>> _last_part("https://ehr-commons.hk/identifier/HKID/"), _last_part("urn:hkid")
    ('hkid', 'hkid')
    """
    return re.split(r"[/:#]", system.strip().lower().rstrip("/"))[-1]


def _canonical(value: object) -> object:
    if isinstance(value, list):
        return sorted(orjson.dumps(item, str, orjson.OPT_SORT_KEYS) for item in value)
    return value


def _empties(before: Json, after: Json) -> bool:
    """Say whether an element that told something is gone, with nothing in its place."""
    if _tells_less(before, after):
        return True
    inner_after = {inner.get("id"): inner for inner in _objects(after.get("contained"))}
    return any(
        _tells_less(inner, inner_after[inner.get("id")])
        for inner in _objects(before.get("contained"))
        if "resourceType" in inner and inner.get("id") in inner_after
    )


def _tells_less(before: Json, after: Json) -> bool:
    told = Counter(_told_elements(before, before["resourceType"]))
    return bool(told) and bool(told - Counter(_told_elements(after, before["resourceType"])))


def _told_elements(node: Json, owner: str, path: str = "") -> Iterator[str]:
    """Yield each element in which a resource tells something, one for each repetition.

    They are named without their datatypes: a value of another datatype is in the place of one.
    """
    telling = _telling_elements(owner)
    for key, value in node.items():
        if (element := telling.get(key)) is None:
            continue
        name = f"{path}.{element.name}"
        for item in value if isinstance(value, list) else (value,):
            if _tells(item, element.type):
                yield name
                if "." in element.type and isinstance(item, Mapping):
                    yield from _told_elements(item, element.type, name)


@cache
def _telling_elements(kind: str) -> Mapping[str, definitions.JsonElement]:
    """Return JSON key -> element for what a type tells: not when, by whom, or in which state."""
    found = {}
    for key, element in definitions.json_elements(kind).items():
        types = {
            other.type
            for other in definitions.json_elements(kind).values()
            if other.name == element.name
        }
        is_reference = types == {"Reference"} and element.name not in _TELLING_REFERENCES
        is_when = bool(types & _TIMES) and types <= _WHEN
        is_state = _is_status(element) or bool(definitions.required_codes(kind, element.name))
        is_frame = element.name in _FRAME or bool(types & _ABOUT_THE_RECORD)
        if not (is_frame or is_reference or is_when or is_state):
            found[key] = element
    return found


def _tells(value: object, datatype: str = "") -> bool:
    """Say whether a value holds more than a unit, a system or a reason why there is none."""
    if isinstance(value, list):
        return any(_tells(item) for item in value)
    if isinstance(value, Mapping):
        codings = _objects(value.get("coding"))
        if codings and all(coding.get("system") in _ABSENT_SYSTEMS for coding in codings):
            return False
        if value.get("system") in _ABSENT_SYSTEMS:
            return False
        essential = _ESSENTIAL.get(datatype)
        return any(
            _tells(item)
            for key, item in value.items()
            if (key in essential if essential else key not in _BESIDE_THE_VALUE)
        )
    if isinstance(value, str):
        return bool(_TELLING_CHARACTER.search(value))
    return value is not None


@cache
def _error_elements(kind: str) -> tuple[str, ...]:
    """Return the elements of a type whose codes include `entered-in-error`."""
    return tuple(
        key
        for key, element in definitions.json_elements(kind).items()
        if _is_status(element)
        or _ENTERED_IN_ERROR in (definitions.required_codes(kind, element.name) or ())
    )


def _is_status(element: definitions.JsonElement) -> bool:
    return element.name.endswith(("status", "Status")) and element.type in (
        "code",
        "CodeableConcept",
    )


def _codes(value: object) -> Iterable[str]:
    """Return the codes of a code, a CodeableConcept, or a list of them."""
    if isinstance(value, str):
        return [value]
    concepts = value if isinstance(value, list) else [value]
    return [
        str(coding["code"])
        for concept in _objects(concepts)
        for coding in _objects(concept.get("coding"))
        if coding.get("code")
    ]


def _objects(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
