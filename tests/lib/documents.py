"""Bundles as they come from elsewhere: one of each kind, and their entries as a transaction."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

from ehr_fhir.bundle_references import BundleEntry, EntryIndex, bundle_entries
from ehr_fhir.references import local_target

Json = dict[str, Any]

ELSEWHERE = "http://example.org/fhir"
_URN = "urn:uuid:00000000-0000-4000-8000-{:012d}"
_XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'
_SUMMARY = {"coding": [{"system": "http://loinc.org", "code": "60591-5"}]}


def _urn(kind: str, number: int) -> str:
    return _URN.format(number)


def _address(kind: str, number: int) -> str:
    return f"{ELSEWHERE}/{kind}/{number}"


def _relative(kind: str, number: int) -> str:
    return f"{kind}/{number}"


_Name = Callable[[str, int], str]


def _resources(named: _Name) -> list[Json]:
    """Return a summary and what it names, each reference in one form."""

    def to(kind: str, number: int) -> Json:
        return {"reference": named(kind, number)}

    link = f'<div {_XHTML}><a href="{named("Condition", 4)}">asthma</a></div>'
    section = {
        "title": "Problems",
        "text": {"status": "generated", "div": link},
        "entry": [to("Condition", 4), {"reference": "Observation/not-here"}],
    }
    scope = {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "adr"}
    return [
        {
            "resourceType": "Composition", "id": "1", "status": "final", "type": _SUMMARY,
            "date": "2026-05-01T10:00:00+08:00", "title": named("Composition", 1),
            "subject": to("Patient", 2), "author": [to("Organization", 3)], "section": [section],
            "custodian": {"reference": f"{named('Organization', 3)}/_history/7"},
        },
        {
            "resourceType": "Patient", "id": "2", "name": [{"text": "Ann"}],
            "managingOrganization": to("Organization", 3),
        },
        {
            "resourceType": "Organization", "id": "3", "name": "Clinic",
            "identifier": [{"system": "urn:ietf:rfc:3986", "value": named("Organization", 3)}],
        },
        {
            "resourceType": "Condition", "id": "4", "subject": to("Patient", 2),
            "code": {"text": "asthma"}, "recorder": {"reference": "#in"},
            "contained": [{"resourceType": "Practitioner", "id": "in"}],
            "extension": [{"url": "http://example.org/of", "valueUri": named("Patient", 2)}],
        },
        {
            "resourceType": "Observation", "id": "5", "status": "final",
            "subject": to("Patient", 2),
            "code": {"text": "weight"}, "valueQuantity": {"value": 61.50, "unit": "kg"},
            "performer": [{"identifier": {"value": "yu"}}, {"display": "Dr Yu"}],
        },
        {
            "resourceType": "Consent", "id": "6", "status": "active", "patient": to("Patient", 2),
            "scope": {"coding": [scope]}, "category": [{"text": "do not resuscitate"}],
            "provision": {"type": "deny", "code": [{"text": "resuscitation"}]},
        },
    ]  # fmt: skip


def _bundle(kind: str, name_entry: _Name, named: _Name, **more: Any) -> Json:
    entries = [
        {"fullUrl": name_entry(resource["resourceType"], int(resource["id"])), "resource": resource}
        for resource in _resources(named)
    ]
    identifier = {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:5"}
    stamp = {"identifier": identifier, "timestamp": "2026-05-01T10:00:00+08:00"}
    return {"resourceType": "Bundle", "type": kind, **stamp, "entry": entries, **more}


def _with_entries(bundle: Json, **more: Any) -> Json:
    entries = [{**entry, **more} for entry in bundle["entry"]]
    return {**bundle, "entry": entries}


def own_documents() -> dict[str, Json]:
    """Return a Bundle of each kind, by what is special about it."""
    document = _bundle("document", _address, _relative)
    signature = {
        "type": [{"system": "urn:iso-astm:E1762-95:2013", "code": "1.2.840.10065.1.12.1.1"}],
        "when": "2026-05-01T10:00:00+08:00",
        "who": {"reference": "Organization/3"},
        "data": "c2lnbmVk",
    }
    subsetted = {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "SUBSETTED",
    }
    searchset = _with_entries(_bundle("searchset", _address, _relative), search={"mode": "match"})
    searchset["entry"][4]["resource"]["meta"] = {"tag": [subsetted]}
    header = {
        "resourceType": "MessageHeader",
        "eventUri": "http://example.org/event",
        "source": {"endpoint": "http://example.org/source"},
        "focus": [{"reference": "Patient/2"}],
        "sender": {"reference": "Organization/nobody"},
    }
    message = _bundle("message", _address, _relative)
    message["entry"][0] = {"fullUrl": f"{ELSEWHERE}/MessageHeader/m", "resource": header}
    request = {"method": "PUT", "url": "Condition/4"}
    response = {"status": "200", "location": f"{ELSEWHERE}/Condition/4/_history/2"}
    history = _with_entries(
        _bundle("history", _address, _relative), request=request, response=response
    )
    gone = {"method": "DELETE", "url": "Condition/4"}
    history["entry"].append({"fullUrl": _address("Condition", 4), "request": gone,
                             "response": {"status": "204"}})  # fmt: skip
    post = {"method": "POST", "url": "Basic", "ifNoneExist": "code=x"}
    nested = {"resourceType": "Bundle", "type": "collection",
              "entry": [{"fullUrl": _URN.format(9), "resource": document}]}  # fmt: skip
    return {
        "addresses, relative references": document,
        "addresses, absolute references": _bundle("document", _address, _address),
        "urns": _bundle("document", _urn, _urn),
        "urns, relative references": _bundle("document", _urn, _relative),
        "signed": {**document, "signature": signature},
        "collection": _bundle("collection", _address, _relative),
        "searchset": {**searchset, "total": 6,
                      "link": [{"relation": "self", "url": f"{ELSEWHERE}/Condition"}]},
        "history": history,
        "message": message,
        "transaction": _with_entries(_bundle("transaction", _urn, _urn), request=post),
        "batch": _with_entries(_bundle("batch", _urn, _urn), request=post),
        "transaction-response": {"resourceType": "Bundle", "type": "transaction-response",
                                 "entry": [{"response": response}]},
        "batch-response": {"resourceType": "Bundle", "type": "batch-response",
                           "entry": [{"response": response}]},
        "a Bundle in a Bundle": nested,
    }  # fmt: skip


def own_parameters() -> Json:
    """Return Parameters that hold resources and references of every form."""
    *_, condition, observation, _ = _resources(_relative)
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "whole", "resource": _bundle("document", _urn, _urn)},
            {"name": "nested", "part": [{"name": "inner", "resource": {
                **condition, "subject": {"reference": _URN.format(2)},
            }}]},
            {"name": "weight", "resource": {**observation, "subject": {"display": "Ann"}}},
            {"name": "subject", "valueReference": {"reference": "Patient/not-here"}},
            {"name": "of", "valueUri": _URN.format(2)},
        ],
    }  # fmt: skip


def read_json(text: bytes | str) -> Json:
    """Parse JSON so that no digit of a number is lost."""
    content: Json = json.loads(text, parse_float=str)
    return content


def without_own_meta(resource: Json) -> Json:
    """Return a resource without what a server makes of its own: id, version, time, source."""
    meta = {
        key: value
        for key, value in resource.get("meta", {}).items()
        if key not in ("versionId", "lastUpdated", "source")
    }
    rest = {key: value for key, value in resource.items() if key not in ("id", "meta")}
    return {**rest, "meta": meta} if meta else rest


def digest(bundle: Json) -> str:
    """Return a digest of what a signature covers: all but id and meta (R4 §2.6.2.4)."""
    rest = {key: value for key, value in bundle.items() if key not in ("id", "meta", "signature")}
    text = json.dumps(rest, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def as_transaction(bundle: Json) -> Json:
    """Return a transaction that makes the entries of a document.

    What a document leaves open is decided here: a reference to an entry becomes its fullUrl, one
    that leads nowhere keeps its display alone.
    """
    entries = list(bundle_entries(bundle))
    index = EntryIndex(entries)
    names = {id(entry): entry.full_url or _URN.format(at) for at, entry in enumerate(entries)}
    made = []
    for entry in entries:
        resource = copy.deepcopy(dict(entry.resource))
        if resource["resourceType"] not in ("Bundle", "Parameters"):
            _resolve(resource, entry, index, names)
        request = {"method": "POST", "url": resource["resourceType"]}
        made.append({"fullUrl": names[id(entry)], "resource": resource, "request": request})
    return {"resourceType": "Bundle", "type": "transaction", "entry": made}


def _resolve(node: Any, source: BundleEntry, index: EntryIndex, names: dict[int, str]) -> None:
    if isinstance(node, list):
        for item in node:
            _resolve(item, source, index, names)
    if not isinstance(node, dict):
        return
    for value in node.values():
        _resolve(value, source, index, names)
    reference = node.get("reference")
    if not isinstance(reference, str) or reference.startswith("#"):
        return
    found = index.find(reference, source)
    if found is not None:
        node["reference"] = names[id(found)]
    elif local_target(reference) or not reference.startswith(("http:", "https:", "urn:oid:")):
        del node["reference"]
        node.setdefault("display", "not in the document")
