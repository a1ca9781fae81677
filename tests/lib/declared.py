"""Requests for all that a CapabilityStatement declares, and records that each would find."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any
from urllib.parse import urlencode

from ehr_fhir import definitions
from ehr_fhir.geo_positions import unit_vector
from ehr_fhir.index.rows import IndexRow, indexed_parameters
from ehr_fhir.search_parameters import SearchParameter, official_parameters
from ehr_fhir.token_keys import folded_key
from ehr_gateway.access import Access
from ehr_gateway.interaction_codes import NOT_WRITTEN
from ehr_gateway.operations.declaration import ANY_TYPE, Level, Operation, Parameter
from ehr_gateway.operations.registry import OPERATIONS
from ehr_gateway.store.index_rows import group_by_table, insert_index
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from ehr_privacy.consent.domain_rules import load_domains
from tests.lib.gateway import START_MS, House, consent
from tests.lib.minimal import minimal

Json = Mapping[str, Any]

SHOWN, HIDDEN = "shown", "hidden"
_WORD, _SYSTEM = "word", "http://example.org/words"
_DAY = 1_767_225_600_000  # 2026-01-01T00:00:00Z
# By type of parameter: what its rows hold, and a search that finds them.
_ROWS: dict[str, tuple[object, ...]] = {
    "date": (_DAY, _DAY + 86_400_000),
    "number": (7.0, 7.0),
    "quantity": (7.0, 7.0, _SYSTEM, _WORD, _WORD),
    "special": unit_vector(0, 0),
    "string": (_WORD, _WORD),
    "token": (_SYSTEM, _WORD),
    "uri": (_SYSTEM,),
}
_ASKED = {
    "date": "ge2020",
    "number": "7",
    "quantity": f"7|{_SYSTEM}|{_WORD}",
    "string": _WORD,
    "token": _WORD,
    "uri": _SYSTEM,
}
# Where another value is taken than by the type.
_NAMED = {"_lastUpdated": "2026", "near": "0|0|100"}
_MODIFIED = {
    "identifier": _WORD,
    # Two have this url, of which one is hidden.
    "in": _SYSTEM,
    "missing": "false",
    "not": "another",
    "not-in": f"ValueSet/{SHOWN}-valueset",
    "of-type": f"{_SYSTEM}|{_WORD}|{_WORD}",
}
_SPECIAL = {
    "_explain": ["Observation?_explain=true"],
    "_filter": [
        f"Observation?_filter={one}"
        for one in (
            f'status eq "{_WORD}" and not (code eq "another")',
            f"encounter re Encounter/{HIDDEN}-encounter or code in ValueSet/{HIDDEN}-valueset",
        )
    ],
    "_has": [f"Patient?_has:Observation:subject:code:in=ValueSet/{HIDDEN}-valueset"],
    "_list": [f"Account?_list={one}-list" for one in (SHOWN, HIDDEN)],
    "_type": ["?_type=Observation,Encounter&_total=accurate", "?_type=Group&_sort=-_lastUpdated"],
}
_MOST_INCLUDES = 16
# Of the words of a whole text, which have no order.
_UNORDERED = frozenset({"_content", "_text"})
# What operations are asked with: by the name of a parameter, else by its type.
_OPERATION_NAMED = {"_type": "Observation,Encounter", "_count": "2"}
_OPERATION_VALUES = {
    "boolean": "true",
    "date": "2026-01-06",
    "dateTime": "2026-01-06",
    "decimal": "1",
    "id": f"{HIDDEN}-observation",
    "instant": "2026-01-06T00:00:00Z",
    "integer": "1",
}
# Served at addresses of their own, and not in a Bundle.
_OWN_ADDRESSES = frozenset({"AuditEvent", "OperationDefinition", "Subscription"})
_WITHOUT_CONTAINED = frozenset({"Binary", "Bundle", "Parameters"})


# The forms that find less where there is more, or are refused to those who may see it.
NOT_TELLING = frozenset({"_explain", "_security:not-in", "_tag:not-in", "token:not-in"})


def fill(house: House, patient: str, name: str, label: Json | None = None) -> None:
    """Add a record of each type about a patient, with a value of every search parameter.

    The values stand in the index alone: no record of R4 could have them all. Each refers to those
    of both names, whether they are there or not. With a sensitivity label all but Consents, which
    are rules, bear it.
    """
    store = house.gateway.store
    caller = house.gateway.verifier.authenticate(_token(house), START_MS)
    access = Access(caller.requester, START_MS, "furnishing")
    with open_transaction(store, access) as writing:
        ids = store.registry(writing.connection).ids
        for kind in sorted(definitions.resource_types() - set(NOT_WRITTEN)):
            body = _record(kind, _id(kind, name), patient)
            if label is not None:
                if kind == "Consent":
                    continue
                body |= {"meta": {"security": [label]}}
            version = writing.create(prepare_draft(body, body["id"], access, kind))
            rows = [
                IndexRow(table, one.code, (*values, 0))
                for one in indexed_parameters(kind)
                for table, values in _rows(one)
            ]
            insert_index(writing.connection, [(version.pk, group_by_table(ids, kind, rows))])


def _token(house: House) -> str:
    return house.system("ehr-commons").headers["Authorization"].removeprefix("Bearer ")


def _id(kind: str, name: str) -> str:
    return f"{name}-{kind.lower()}"


def _record(kind: str, identity: str, patient: str) -> dict[str, Any]:
    if kind == "Consent":
        return consent(identity, "joining", patient=patient)
    resource = minimal(kind, identity)
    about = {"reference": f"Patient/{patient}"}
    basic = {"resourceType": "Basic", "id": "a", "code": {"text": "x"}, "subject": about}
    if kind == "ValueSet":
        resource |= {"compose": {"include": [{"system": _SYSTEM}]}}
    if kind == "CodeSystem":
        resource |= {"content": "complete", "concept": [{"code": _WORD}]}
    if kind == "SearchParameter":
        resource |= {"status": "draft"}
    if kind == "Binary":
        return {**resource, "securityContext": about}
    if kind == "Bundle":
        return {**resource, "entry": [{"fullUrl": "http://example.org/a", "resource": basic}]}
    # Of the directory too: what holds something about a patient is about the patient.
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{_WORD}</div>'
    text = {"status": "generated", "div": div}
    inside = {} if kind in _WITHOUT_CONTAINED else {"text": text, "contained": [basic]}
    return {**resource, **inside}


def _rows(one: SearchParameter) -> Iterator[tuple[str, tuple[object, ...]]]:
    if one.type == "reference":
        for kind in _targets(one):
            yield from (("reference", (kind, _id(kind, name))) for name in (SHOWN, HIDDEN))
        yield "token", _ROWS["token"]
        return
    yield ("position" if one.type == "special" else one.type), _ROWS[one.type]
    if one.type == "token":
        yield "token", (f"{_SYSTEM}|{_WORD}", folded_key(_WORD))
        yield "string", _ROWS["string"]


def _targets(one: SearchParameter) -> Sequence[str]:
    return sorted(one.targets - {"Consent"} or {"Observation"})[:2]


def reads(statement: Json) -> dict[str, list[str]]:
    """Return addresses below the base, by form: all that is declared to be read, of each type."""
    rest = statement["rest"][0]
    found: dict[str, list[str]] = defaultdict(list)
    turn = count()
    for one in rest["resource"]:
        if one["type"] in _OWN_ADDRESSES:
            continue
        for form, address in (
            *_instances(one), *_searches(one, turn), *_includes(one), *_chains(one)
        ):  # fmt: skip
            found[form].append(address)
    types = {one["type"].lower(): one["type"] for one in rest["resource"]}
    for link in rest["compartment"]:
        owner = types[link.rpartition("/")[2]]
        inside = [f"{owner}/{_id(owner, name)}" for name in (SHOWN, HIDDEN)]
        found[f"compartment {owner}"] += [
            f"{one}/{kind}" for one in inside for kind in ("*", "Observation", owner)
        ]
    # One that is new has to be asked here too.
    for each in rest["searchParam"]:
        found[each["name"]] += _SPECIAL[each["name"]]
    found["system"] += ["?_count=3", "_history?_count=3"]
    return found


def operations() -> list[str]:
    """Return addresses of each declared operation, on what is hidden and what is shown.

    Of patients also on the first one, whose other records the reader may know. Of those that are
    called by GET also with each parameter that is declared, by a value of its type.
    """
    found = []
    for operation in (registered.declaration for registered in OPERATIONS):
        for level, kind, path in operation.paths():
            about = "Observation" if kind == ANY_TYPE else kind
            more = ("pat-1",) if kind == "Patient" else ()
            names = ["", *more, *(_id(about, name) for name in (HIDDEN, SHOWN))]
            for name in names[1:] if level == "instance" else names[:1]:
                address = path.removeprefix("/fhir/").format(
                    resource_type=about, patient=name, logical_id=name
                )
                found.append(address)
                if not operation.affects_state and name in ("", "pat-1", _id(about, HIDDEN)):
                    found += [f"{address}?{query}" for query in _queries(operation, level, kind)]
    return found


def _queries(operation: Operation, level: Level, kind: str) -> Iterator[str]:
    """Yield a query for each parameter, beside those that must be there."""
    taken = operation.parameters_at(level, kind)
    parameters = [one for one in operation.parameters if one.name in taken]
    needed = {one.name: _value_of(one) for one in parameters if one.least}
    for one in parameters:
        if one.name != "_cursor":
            yield urlencode({**needed, one.name: _value_of(one)})


def _value_of(parameter: Parameter) -> str:
    return _OPERATION_NAMED.get(parameter.name) or _OPERATION_VALUES.get(parameter.type, _WORD)


def writes() -> list[dict[str, Any]]:
    """Return the requests of entries that change a record of each type, if it is there.

    Of types that hold patients' records: a person may choose ids in the directory.
    """
    found = []
    for kind in sorted(definitions.resource_types() - load_domains().directory - _OWN_ADDRESSES):
        address, resource = f"{kind}/{_id(kind, HIDDEN)}", minimal(kind, _id(kind, HIDDEN))
        request = {"method": "PUT", "url": address}
        operation = {"op": "test", "path": "/id", "value": "x"}
        found += [
            {"request": request, "resource": resource},
            {"request": {**request, "ifMatch": 'W/"1"'}, "resource": resource},
            {"request": {**request, "ifNoneMatch": "*"}, "resource": resource},
            {"request": {"method": "DELETE", "url": address}},
            {"request": {"method": "DELETE", "url": f"{kind}?_id={_id(kind, HIDDEN)}"}},
            {"request": {"method": "PATCH", "url": address}, "resource": _patch([operation])},
        ]
    return found


def _patch(operations: Sequence[Json]) -> dict[str, Any]:
    content = base64.b64encode(json.dumps(operations).encode()).decode()
    kind = "application/json-patch+json"
    return {"resourceType": "Binary", "contentType": kind, "data": content}


def _instances(one: Json) -> Iterator[tuple[str, str]]:
    kind, codes = one["type"], {each["code"] for each in one["interaction"]}
    address = f"{kind}/{_id(kind, HIDDEN)}"
    forms = {
        "read": address,
        "vread": f"{address}/_history/1",
        "history-instance": f"{address}/_history",
        "history-type": f"{kind}/_history?_count=1",
        "search-type": f"{kind}?_count=1&_total=accurate",
    }
    return ((code, form) for code, form in forms.items() if code in codes)


def _searches(one: Json, turn: Iterator[int]) -> Iterator[tuple[str, str]]:
    """Ask by each parameter, then in its order, and by one of its modifiers after the other."""
    kind = one["type"]
    for parameter in one["searchParam"]:
        name, asked = parameter["name"], _asked(kind, parameter)
        form = name if name.startswith("_") else parameter["type"]
        yield form, f"{kind}?{name}={asked}&_total=accurate"
        if parameter["type"] not in ("composite", "special") and name not in _UNORDERED:
            yield f"{form} in order", f"{kind}?_sort=-{name}&_count=1&_total=accurate"
        known = [word.strip(" :,") for word in parameter.get("documentation", "").split()[1:]]
        if known:
            modifier = known[next(turn) % len(known)]
            value = _MODIFIED.get(modifier, asked)
            if parameter["type"] == "token" and modifier in ("above", "below"):
                # Two have this url, of which one is hidden.
                value = f"{_SYSTEM}|{_WORD}"
            yield f"{form}:{modifier}", f"{kind}?{name}:{modifier}={value}"


def _asked(kind: str, parameter: Json) -> str:
    name, known = parameter["name"], official_parameters(kind)
    if name == "_id":
        return f"{_id(kind, HIDDEN)},{_id(kind, SHOWN)}"
    if parameter["type"] == "reference":
        target = _targets(known[name])[0]
        return f"{target}/{_id(target, HIDDEN)}"
    if parameter["type"] == "composite":
        parts = ({"name": one.code, "type": known[one.code].type} for one in known[name].components)
        return "$".join(_asked(kind, part) for part in parts)
    return _NAMED.get(name) or _ASKED[parameter["type"]]


def _includes(one: Json) -> Iterator[tuple[str, str]]:
    for name, key in (("_include", "searchInclude"), ("_revinclude", "searchRevInclude")):
        known = iter(one.get(key, ()))
        while some := list(islice(known, _MOST_INCLUDES)):
            # Beside what is shown stands only what it leads to.
            shown = f"{one['type']}?_id={_id(one['type'], SHOWN)}"
            yield name, "&".join([shown, *(f"{name}={each}" for each in some)])


def _chains(one: Json) -> Iterator[tuple[str, str]]:
    kind = one["type"]
    for each in one.get("searchInclude", ()):
        code = each.partition(":")[2]
        for target in _targets(official_parameters(kind)[code])[:1]:
            yield "chain", f"{kind}?{code}:{target}._id={_id(target, HIDDEN)}"
    for each in one.get("searchRevInclude", ()):
        source, _, code = each.partition(":")
        if kind in _targets(official_parameters(source)[code]):
            yield "_has", f"{kind}?_has:{each}:_id={_id(source, HIDDEN)}"
