"""A gateway of a page: canned resources behind httpx, to see what the portal asks and shows.

It knows no consent rule. Who sees what is the real gateway's affair, and the acceptance test's.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import httpx

from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.rows import event_period
from tests.lib.visits_of_events import group_into_visits, visit_parameters

Resource = dict[str, Any]
# What an include leads to, where it is no medicine.
_INCLUDED_TYPES = {
    "Appointment:location": "Location",
    "CarePlan:care-team": "CareTeam",
    "CarePlan:condition": "Condition",
    "DiagnosticReport:media": "Media",
}


class FakeGateway:
    """Answers reads, searches and Consent writes from memory; `asked` is every request seen."""

    def __init__(self, resources: Iterable[Resource], people: dict[str, dict[str, Any]]) -> None:
        self.resources = {(r["resourceType"], r["id"]): dict(r) for r in resources}
        self.people = people
        self.asked: list[httpx.Request] = []
        self.challenges: dict[str, str] = {}
        # What happens between the portal's reading and its writing.
        self.before_write: Callable[[], None] = lambda: None
        # By type: the answer given instead of a search or read of that type.
        self.failures: dict[str, int] = {}
        # Whether a type that fails does so for one request alone.
        self.recovers = False
        # By type: the answer given instead of a write of that type.
        self.refusals: dict[str, int] = {}
        # What operations answer, by their address below /fhir/.
        self.operations: dict[str, Resource] = {}
        # By operation: the status and the diagnostics of its refusal.
        self.refused_operations: dict[str, tuple[int, str]] = {}
        # Whose records the reader opened lately, newest first.
        self.opened_patients: list[str] = []

    def client(self) -> httpx.AsyncClient:
        """Return a client of this gateway."""
        transport = httpx.MockTransport(self.answer)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway.test")

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; of a batch each entry is one."""
        if request.method == "POST" and request.url.path == "/fhir":
            bundle = json.loads(request.content)
            if bundle["type"] == "batch":
                return self._answer_batch(request, bundle)
        self.asked.append(request)
        if request.url.path == "/oauth/token":
            return self._token(parse_qs(request.content.decode()))
        if "Authorization" not in request.headers:
            return httpx.Response(401)
        operation = request.url.path.removeprefix("/fhir/")
        if operation in self.refused_operations:
            status, diagnostics = self.refused_operations[operation]
            issues = [{"severity": "error", "diagnostics": diagnostics}]
            return httpx.Response(
                status, json={"resourceType": "OperationOutcome", "issue": issues}
            )
        if operation in self.operations:
            return httpx.Response(200, json=self.operations[operation])
        if operation == "$acting-for":
            return httpx.Response(200, json=self._acting_for(request))
        if operation == "Patient/$patient-list":
            return httpx.Response(200, json=self._patient_list(request.url.params))
        if operation.endswith("/$access-history"):
            return httpx.Response(200, json=self._access_history(request.url))
        kind, _, identity = request.url.path.removeprefix("/fhir/").partition("/")
        if kind in self.failures:
            status = self.failures.pop(kind) if self.recovers else self.failures[kind]
            return httpx.Response(status)
        if identity.endswith("/*/_search"):
            form = httpx.QueryParams(request.content.decode())
            compartment = identity.removesuffix("/*/_search")
            return httpx.Response(200, json=self._search_compartment(compartment, form))
        if identity == "_search":
            form = httpx.QueryParams(request.content.decode())
            return httpx.Response(200, json=self._search(kind, form))
        if request.method in ("POST", "PUT"):
            return self._write(request)
        if identity.endswith("/*"):
            compartment = identity.removesuffix("/*")
            return httpx.Response(
                200, json=self._search_compartment(compartment, request.url.params)
            )
        if identity:
            found = self.resources.get((kind, identity))
            if found is None and identity.startswith("$"):
                # An operation of a type that lists something, and has nothing to list.
                found = {"resourceType": "Bundle", "type": "searchset"}
            return httpx.Response(200, json=found) if found else httpx.Response(404)
        return httpx.Response(200, json=self._search(kind, request.url.params))

    def _answer_batch(self, request: httpx.Request, bundle: Resource) -> httpx.Response:
        entries = []
        for entry in bundle["entry"]:
            url = f"http://gateway.test/fhir/{entry['request']['url']}"
            headers = {"Authorization": request.headers["Authorization"]}
            answer = self.answer(httpx.Request("GET", url, headers=headers))
            if answer.status_code in (401, 503):
                # Not of one entry: the gateway says so of the whole request.
                return answer
            answered: Resource = {"response": {"status": f"{answer.status_code} Status"}}
            if answer.status_code < 400:
                answered["resource"] = answer.json()
            entries.append(answered)
        return httpx.Response(
            200, json={"resourceType": "Bundle", "type": "batch-response", "entry": entries}
        )

    def written(self) -> list[Resource]:
        """Return the bodies of all writes, in order."""
        return [
            json.loads(r.content)
            for r in self.asked
            if r.method in ("POST", "PUT") and r.url.path.startswith("/fhir/")
        ]

    def _token(self, form: dict[str, list[str]]) -> httpx.Response:
        # The code names the person; the challenge is the one the test saw at /oauth/authorize.
        code, verifier = form["code"][0], form["code_verifier"][0]
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if code not in self.people or self.challenges.get(code, challenge) != challenge:
            return httpx.Response(400, json={"error": "invalid_grant"})
        person = self.people[code]
        answer = {"access_token": f"token-of-{code}", "token_type": "Bearer", "ehr": person}
        return httpx.Response(200, json=answer)

    def _write(self, request: httpx.Request) -> httpx.Response:
        self.before_write()
        body = json.loads(request.content)
        kind, version = body["resourceType"], 1
        if kind in self.refusals:
            return httpx.Response(self.refusals[kind])
        if kind == "Bundle":
            return httpx.Response(200, json=self._transact(body))
        if "If-None-Exist" in request.headers:
            same = self._search(kind, httpx.QueryParams(request.headers["If-None-Exist"]))
            if same["entry"]:
                return httpx.Response(200, json=same["entry"][0]["resource"])
        if request.method == "PUT":
            current = self.resources[(kind, body["id"])]
            version = int(current["meta"]["versionId"])
            if request.headers.get("If-Match") != f'W/"{version}"':
                return httpx.Response(412)
            version += 1
        body.setdefault("id", f"new-{len(self.resources)}")
        body["meta"] = {"versionId": str(version)}
        self.resources[(kind, body["id"])] = body
        return httpx.Response(201 if version == 1 else 200, json=body)

    def _acting_for(self, request: httpx.Request) -> Resource:
        """Answer with whom the carer acts for at their log-in: they see, and decide nothing."""
        who = request.headers["Authorization"].removeprefix("Bearer token-of-")
        patient = self.people.get(who, {}).get("patient")
        powers = {"view": {"valueBoolean": True}, "manage": {"valueBoolean": False}}
        parts = [{"name": name, **value} for name, value in powers.items()]
        named = [{"name": "patient", "valueString": patient}, *parts]
        people = [{"name": "person", "part": named}] if patient else []
        return {"resourceType": "Parameters", "parameter": people}

    def _transact(self, bundle: Resource) -> Resource:
        """Create what a transaction says, unless it is there."""
        for entry in bundle["entry"]:
            body = dict(entry["resource"])
            criteria = httpx.QueryParams(entry["request"]["ifNoneExist"])
            if not self._search(body["resourceType"], criteria)["entry"]:
                body |= {"id": f"new-{len(self.resources)}", "meta": {"versionId": "1"}}
                self.resources[(body["resourceType"], body["id"])] = body
        return {"resourceType": "Bundle", "type": "transaction-response"}

    def _search_compartment(self, patient: str, asked: httpx.QueryParams) -> Resource:
        """Answer a search of several types about a patient, the newest change first."""
        params = asked.set("patient", patient)
        entries = [
            entry
            for kind in params.get("_type", "").split(",")
            for entry in self._search(kind, params.set("_count", 1000))["entry"]
            if entry["search"]["mode"] == "match"
        ]
        entries.sort(
            key=lambda entry: entry["resource"].get("meta", {}).get("lastUpdated", ""), reverse=True
        )
        if "_include" in params:
            medicines = [r for (t, _), r in self.resources.items() if t == "Medication"]
            entries += [{"resource": r, "search": {"mode": "include"}} for r in medicines]
        count = int(params.get("_count", 50))
        link = {"relation": "next", "url": "http://elsewhere.test/fhir/more"}
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": entries[:count],
            "link": [link] if len(entries) > count else [],
        }

    def _access_history(self, url: httpx.URL) -> Resource:
        """Group the AuditEvents that are there; 25 visits are a page."""
        patient = url.path.split("/")[3]
        events = [
            event
            for (kind, _), event in self.resources.items()
            if kind == "AuditEvent" and _matches(event, httpx.QueryParams({"patient": patient}))
        ]
        visits = [
            visit
            for visit in group_into_visits(events, patient)
            if url.params.get("own") == "true" or not visit.is_own
        ]
        start = int(url.params.get("_cursor", 0))
        answer = visit_parameters(visits[start : start + 25])
        if start + 25 < len(visits):
            answer["parameter"].append({"name": "next", "valueString": str(start + 25)})
        return answer

    def _patient_list(self, params: httpx.QueryParams) -> Resource:
        """Answer with everything about the list's patients that is here, by the answer's names."""
        stays = self._found("Encounter", status="in-progress")
        marks = [team for team in self._found("CareTeam", status="active") if team["identifier"]]
        of_list: dict[str, Iterable[Resource]] = {"ward": stays, "marked": marks}
        patients = [
            *(one["subject"]["reference"][8:] for one in of_list.get(params["list"], ())),
            *(self.opened_patients if params["list"] == "opened" else ()),
        ]
        shown = {"name": "shown", "valueString": f"shown-{params['list']}"}
        parameters: list[Resource] = [
            shown,
            *({"name": "listed", "valueId": patient} for patient in dict.fromkeys(patients)),
            *({"name": "mark", "resource": mark} for mark in marks),
        ]
        for patient in dict.fromkeys(patients):
            for name, kind, criteria in (
                ("patient", "Patient", {"_id": patient}),
                ("stay", "Encounter", {"patient": patient, "status": "in-progress"}),
                ("flag", "Flag", {"patient": patient}),
                ("allergy", "AllergyIntolerance", {"patient": patient}),
                ("problem", "Condition", {"patient": patient}),
                ("context", "Observation", {"patient": patient, "code": params["code"]}),
                ("vital-signs", "Observation", {"patient": patient, "category": "vital-signs"}),
                ("laboratory", "Observation", {"patient": patient, "category": "laboratory"}),
            ):
                found = self._found(kind, **criteria)
                parameters += [{"name": name, "resource": record} for record in found]
        return {"resourceType": "Parameters", "parameter": parameters}

    def _found(self, kind: str, **params: str) -> list[Resource]:
        entries = self._search(kind, httpx.QueryParams({**params, "_count": "1000"}))["entry"]
        return [entry["resource"] for entry in entries]

    def _search(self, kind: str, params: httpx.QueryParams) -> Resource:
        found = [r for (t, _), r in self.resources.items() if t == kind and _matches(r, params)]
        if params.get("_sort", "").startswith("-") and "date" in params["_sort"].lower():
            found.sort(key=lambda r: fhir_timestamp(event_period(r)[0]), reverse=True)
        start, count = int(params.get("_start", 0)), int(params.get("_count", 50))
        bundle: Resource = {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [
                {"resource": r, "search": {"mode": "match"}} for r in found[start : start + count]
            ],
            "link": [],
        }
        if params.get("_total") == "accurate":
            bundle["total"] = len(found)
        if "_include" in params:
            # Every resource of the types that the parameters can lead to.
            types = {
                _INCLUDED_TYPES.get(include, "Medication")
                for include in params.get_list("_include")
            }
            bundle["entry"] += [
                {"resource": r, "search": {"mode": "include"}}
                for (t, _), r in self.resources.items()
                if t in types
            ]
        if start + count < len(found):
            following = params.set("_start", start + count)
            bundle["link"] = [
                {"relation": "next", "url": f"http://elsewhere.test/fhir/{kind}?{following}"}
            ]
        return bundle


def _matches(resource: Resource, params: httpx.QueryParams) -> bool:
    if "_id" in params:
        return resource["id"] in params["_id"].split(",")
    for name in ("encounter", "related"):
        # By any element: what names the record that is searched for.
        if name in params and f'"{params[name]}"' not in json.dumps(resource):
            return False
    since = params.get("_lastUpdated", "").removeprefix("ge")
    if since and resource.get("meta", {}).get("lastUpdated", "") < since:
        return False
    if "status" in params and resource.get("status") not in params["status"].split(","):
        return False
    if "_content" in params and not _has_words(resource, params["_content"]):
        return False
    if any("." in name for name in params):
        # Chains are the real gateway's.
        return False
    codings = resource.get("code", {}).get("coding", ())
    codes = {f"{c.get('system', '')}|{c.get('code', '')}" for c in codings}
    if "code" in params and codes.isdisjoint(params["code"].split(",")):
        return False
    if "code:not" in params and not codes.isdisjoint(params["code:not"].split(",")):
        return False
    state = {c.get("code") for c in resource.get("clinicalStatus", {}).get("coding", ())}
    if not state.isdisjoint(params.get("clinical-status:not", "").split(",")):
        return False
    if "lifecycle-status" in params:
        if resource.get("lifecycleStatus") not in params["lifecycle-status"].split(","):
            return False
    if "category:missing" in params and resource.get("category"):
        return False
    if "patient" in params:
        about = resource.get("subject") or resource.get("patient") or {}
        seen = {e.get("what", {}).get("reference") for e in resource.get("entity", ())}
        seen |= {e.get("actor", {}).get("reference") for e in resource.get("participant", ())}
        if f"Patient/{params['patient']}" not in {about.get("reference"), *seen}:
            return False
    kinds = [kind for kind in resource.get("category", ()) if isinstance(kind, dict)]
    categories = {c["code"] for kind in kinds for c in kind.get("coding", ())}
    if "category" in params and categories.isdisjoint(params["category"].split(",")):
        return False
    if not categories.isdisjoint(params.get("category:not", "").split(",")):
        return False
    if "identifier" in params:
        names = [name.rpartition("|") for name in params["identifier"].split(",")]
        return any(
            i.get("value") == value and (not system or i.get("system") == system)
            for i in resource.get("identifier", ())
            for system, _, value in names
        )
    if "name" in params:
        wanted = params["name"].lower()
        return any(wanted in name.get("text", "").lower() for name in resource["name"])
    return True


def _has_words(resource: Resource, content: str) -> bool:
    """Say whether one group of a full-text query stands in a resource, case aside."""
    text = json.dumps(resource, ensure_ascii=False).lower()
    return any(
        all(word.strip('"*') in text for word in group.lower().split())
        for group in content.split(" OR ")
    )
