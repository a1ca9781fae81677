"""CDS Hooks: a service is told what the asking clinician may see, and its cards are kept."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from ehr_cli.decision_support import (
    EarlyWarningService,
    MedicineCheckService,
    PlatformDecisionSupport,
)
from ehr_gateway.decision_support import Card, HookCall, HookService, RecordSearch
from ehr_gateway.oauth import clients
from tests.lib.gateway import (
    BASE,
    House,
    Session,
    encounter,
    must,
    observation,
    restriction,
)
from tests.lib.gateway import patient as make_patient
from tests.lib.smart import Signer
from tests.spec.access.steps import send

SOURCE = "https://example.org/model"
SERVICE = "/cds-services/counting"
CLINICAL_STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
SIGNER = Signer()


@dataclass
class CountingSupport:
    """Answers with what it was told."""

    calls: list[HookCall] = field(default_factory=list)

    def list_services(self) -> Sequence[HookService]:
        return [HookService("counting", "patient-view", "Counting", "Counts records.")]

    def list_searches(self, service: str, now: datetime) -> Sequence[RecordSearch]:
        return [
            RecordSearch("Patient"),
            RecordSearch("Condition"),
            RecordSearch("Observation", (("category", "laboratory"),)),
        ]

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        self.calls.append(call)
        seen = sorted(f"{one['resourceType']}/{one['id']}" for one in call.records)
        summary = f"{len(seen)} records{', in part' if call.is_partial else ''}"
        reasons = {"known": "Known already"}
        return [Card(summary, " ".join(seen), "info", "Counting", SOURCE, "counting/1", reasons)]


@pytest.fixture
def support(furnished: House) -> CountingSupport:
    """Connect a service with the furnished house; the first patient shares with both hospitals."""
    return connect(furnished)


def connect(house: House) -> CountingSupport:
    house.share("hospital-a")
    house.share("hospital-b")
    support = CountingSupport()
    house.app.state.gateway = replace(house.gateway, decision_support=support)
    return support


def body(patient: str = "pat-1", **changes: Any) -> dict[str, Any]:
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/doctor.b", "patientId": patient},
        **changes,
    }


def ask(session: Session, sent: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    answer = must(session.post(SERVICE, sent or body(), **options)).json()
    assert list(answer) == ["cards"]
    cards: list[Any] = answer["cards"]
    return cards


def summary(session: Session, **options: Any) -> str:
    (card,) = ask(session, **options)
    return str(card["summary"])


def test_services_are_listed_for_everybody(furnished: House, support: CountingSupport) -> None:
    listed = must(furnished.client.get("/cds-services", headers={"Origin": "https://ehr.example"}))

    assert listed.json() == {"services": [vars(support.list_services()[0])]}
    assert listed.headers["access-control-allow-origin"] == "*"


def test_a_gateway_without_services_lists_none(furnished: House) -> None:
    assert must(furnished.client.get("/cds-services")).json() == {"services": []}
    assert furnished.login("doctor.b").post(SERVICE, body()).status_code == 404


def test_a_card_is_as_the_standard_has_it(furnished: House, support: CountingSupport) -> None:
    (card,) = ask(furnished.login("doctor.b"), headers={"Accept-Language": "zh-HK"})

    assert uuid.UUID(card.pop("uuid"))
    assert card == {
        "summary": "4 records",
        "detail": "Condition/con-1 Observation/lab-1 Observation/lab-2 Patient/pat-1",
        "indicator": "info",
        "source": {"label": "Counting", "url": SOURCE},
        "overrideReasons": [{"code": "known", "system": SOURCE, "display": "Known already"}],
    }
    assert support.calls[0].language == "zh-Hant-HK"


def test_consent_decides_what_a_service_is_told_from_the_next_request(
    furnished: House, support: CountingSupport
) -> None:
    doctor, patient = furnished.login("doctor.b"), furnished.login("p.pat-1")
    assert summary(doctor) == "4 records"
    patient.store(restriction("no-labs", domain="laboratory", against="Organization/hospital-b"))
    assert summary(doctor) == "2 records, in part"
    # Whose own records they are sees them all the same.
    assert summary(furnished.login("doctor.a")) == "4 records"

    furnished.share("hospital-b", status="inactive")
    assert ask(doctor) == ask(doctor, body("nobody")) == []


def test_a_hidden_record_changes_nothing_where_markers_are_hidden(
    furnished: House, support: CountingSupport
) -> None:
    limits = replace(furnished.settings.limits, withheld_marker="hide")
    settings = replace(furnished.settings, limits=limits)
    state = furnished.app.state
    state.gateway = replace(state.gateway, settings=settings)
    patient = furnished.login("p.pat-1")
    patient.store(restriction("no-labs", domain="laboratory", against="Organization/hospital-b"))
    doctor = furnished.login("doctor.b")
    (before,) = ask(doctor)

    furnished.system("hospital-a").store(observation("lab-9", "laboratory"))

    (after,) = ask(doctor)
    assert {**after, "uuid": ""} == {**before, "uuid": ""}
    assert furnished.login("doctor.a").get("Observation/lab-9").status_code == 200


@pytest.mark.parametrize("domain", ["medication", "allergy"])
def test_a_check_of_medicines_is_the_same_whatever_a_hidden_record_says(
    furnished: House, domain: str
) -> None:
    furnished.share("hospital-a")
    furnished.share("hospital-b")
    limits = replace(furnished.settings.limits, withheld_marker="hide")
    furnished.app.state.gateway = replace(
        furnished.gateway,
        settings=replace(furnished.settings, limits=limits),
        decision_support=PlatformDecisionSupport([MedicineCheckService()]),
    )
    against = "Organization/hospital-b"
    furnished.login("p.pat-1").store(restriction("closed", domain=domain, against=against))
    subject, codes = {"reference": "Patient/pat-1"}, "medicationCodeableConcept"
    order = {
        "resourceType": "MedicationRequest", "id": "taken", "status": "active", "intent": "order",
        "subject": subject, codes: {"text": "Warfarin 5 mg tablet"},
    }  # fmt: skip
    draft = {**order, "id": "draft", "status": "draft", codes: {"text": "Ibuprofen 400 mg tablet"}}
    allergy = {
        "resourceType": "AllergyIntolerance", "id": "known", "patient": subject,
        "code": {"text": "Ibuprofen"},
        "clinicalStatus": {"coding": [{"system": CLINICAL_STATUS, "code": "active"}]},
    }  # fmt: skip
    drafts = {"resourceType": "Bundle", "entry": [{"resource": draft}]}
    context = {"patientId": "pat-1", "draftOrders": drafts}

    def check(login: str) -> list[dict[str, Any]]:
        sent = body(hook="order-select", context=context)
        answer = must(furnished.login(login).post("/cds-services/medicine-check", sent))
        return [{**card, "uuid": ""} for card in answer.json()["cards"]]

    before = check("doctor.b"), check("doctor.a")
    furnished.system("hospital-a").store(order if domain == "medication" else allergy)

    assert check("doctor.b") == before[0]
    assert check("doctor.a") != before[1]


def test_an_early_warning_score_is_of_the_signs_that_each_house_may_see(furnished: House) -> None:
    """Two houses, one of which no vital signs are shown to; then one that sees nothing."""
    furnished.share("hospital-a")
    furnished.share("hospital-b")
    furnished.app.state.gateway = replace(
        furnished.gateway, decision_support=PlatformDecisionSupport([EarlyWarningService()])
    )
    house_a = furnished.system("hospital-a")
    stay = {**encounter("stay"), "status": "in-progress"}
    house_a.store({**stay, "period": {"start": "2026-11-20T08:00:00+08:00"}})
    signs = {"9279-1": ("/min", 25), "59408-5": ("%", 91), "8867-4": ("/min", 112)}
    for code, (unit, value) in signs.items():
        sign = observation(f"sign-{code}", "vital-signs")
        sign["code"]["coding"][0]["code"] = code
        sign["effectiveDateTime"] = "2026-11-22T07:00:00Z"
        sign["valueQuantity"] = {"value": value, "unit": unit, "code": unit}
        house_a.store(sign)

    def warn(login: str) -> list[dict[str, Any]]:
        answer = furnished.login(login).post("/cds-services/early-warning", body())
        cards: list[dict[str, Any]] = must(answer).json()["cards"]
        return cards

    for login in ("doctor.a", "doctor.b"):
        (card,) = warn(login)
        assert card["summary"].startswith("NEWS2 at least 8.") and card["indicator"] == "critical"
        assert "not shown to you" not in card["detail"]
    against = "Organization/hospital-b"
    closed = restriction("closed", domain="observation", against=against)
    furnished.login("p.pat-1").store(closed)
    (card,) = warn("doctor.b")
    assert card["summary"] == "NEWS2: no vital signs in the last 24 hours"
    assert "not shown to you" in card["detail"] and "8" not in card["detail"].replace("NEWS2", "")
    assert warn("doctor.a")[0]["summary"].startswith("NEWS2 at least 8.")
    furnished.share("hospital-b", status="inactive")
    assert warn("doctor.b") == []


def test_a_type_that_the_token_does_not_cover_is_left_out_and_told(
    furnished: House, support: CountingSupport
) -> None:
    session = furnished.login("doctor.b", "user/Patient.rs user/Condition.rs")

    assert summary(session) == "2 records, in part"


@pytest.mark.parametrize("login", ["p.pat-1", "researcher", "steward", "admin"])
def test_cards_are_for_clinicians(furnished: House, support: CountingSupport, login: str) -> None:
    assert furnished.login(login).post(SERVICE, body()).status_code == 403
    assert furnished.client.post(SERVICE, json=body()).status_code == 401
    assert support.calls == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"hook": "order-sign"}, "hook"),
        ({"hook": 1}, "hook"),
        ({"hookInstance": "x"}, "hookInstance"),
        ({"context": None}, "context"),
        ({"context": {}}, "context.patientId"),
        ({"context": {"patientId": "a b"}}, "context.patientId"),
        ({"context": {"patientId": "pat-1", "encounterId": ""}}, "context.encounterId"),
        ({"context": {"patientId": "pat-1", "draftOrders": []}}, "context.draftOrders"),
        (
            {"context": {"patientId": "pat-1", "draftOrders": {"entry": [{}]}}},
            "context.draftOrders.entry[0].resource",
        ),
        ({"fhirAuthorization": {}}, "fhirAuthorization.access_token"),
        ({"hook": "encounter-discharge"}, "context.encounterId"),
        ({"hook": "order-select"}, "context.draftOrders"),
    ],
)
def test_a_fault_is_named_by_its_element(
    furnished: House, support: CountingSupport, changes: dict[str, Any], path: str
) -> None:
    answer = furnished.login("doctor.b").post(SERVICE, body(**changes))

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == [path]
    assert support.calls == []


def test_nothing_is_read_for_who_is_not_known(furnished: House, support: CountingSupport) -> None:
    for address in (SERVICE, f"{SERVICE}/feedback"):
        for token in ("", "e30.e30.e30", furnished.token("doctor.b")[:-8]):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            answer = furnished.client.post(address, content=b"[" * 1000, headers=headers)
            assert answer.status_code == 401


def test_a_draft_that_is_no_valid_resource_is_refused(
    furnished: House, support: CountingSupport
) -> None:
    drafts = [{"resourceType": "MedicationRequest", "status": 1}]
    bundle = {"resourceType": "Bundle", "entry": [{"resource": draft} for draft in drafts]}
    answer = furnished.login("doctor.b").post(
        SERVICE, body(context={"patientId": "pat-1", "draftOrders": bundle})
    )

    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"][0].startswith("MedicationRequest.")
    assert support.calls == []


def test_a_draft_about_another_patient_is_refused(
    furnished: House, support: CountingSupport
) -> None:
    draft = {
        "resourceType": "MedicationRequest", "status": "draft", "intent": "proposal",
        "medicationCodeableConcept": {"text": "warfarin"},
    }  # fmt: skip
    statuses = {}
    for reference in ("Patient/pat-1", f"{BASE}/fhir/Patient/pat-1/_history/1", "Patient/pat-2",
                      f"{BASE}/fhir/Patient/pat-2", "Patient/pat-11"):  # fmt: skip
        about = {**draft, "subject": {"reference": reference}}
        bundle = {"resourceType": "Bundle", "entry": [{"resource": about}]}
        answer = furnished.login("doctor.b").post(
            SERVICE, body(context={"patientId": "pat-1", "draftOrders": bundle})
        )
        statuses[reference] = answer.status_code

    assert list(statuses.values()) == [200, 200, 400, 400, 400]
    assert len(support.calls) == 2


def test_drafts_that_are_selected_reach_the_service(
    furnished: House, support: CountingSupport
) -> None:
    drafts = [
        {
            "resourceType": "MedicationRequest",
            "id": name,
            "status": "draft",
            "intent": "proposal",
            "medicationCodeableConcept": {"text": "warfarin"},
            "subject": {"reference": "Patient/pat-1"},
        }
        for name in ("one", "two")
    ]
    bundle = {"resourceType": "Bundle", "entry": [{"resource": draft} for draft in drafts]}
    context = {"patientId": "Patient/pat-1", "draftOrders": bundle}
    doctor = furnished.login("doctor.b")

    ask(doctor, body(context=context))
    ask(doctor, body(context={**context, "selections": ["MedicationRequest/two"]}))

    assert [list(call.drafts) for call in support.calls] == [drafts, drafts[1:]]


def test_a_call_is_on_record_as_a_reading(furnished: House, support: CountingSupport) -> None:
    ask(furnished.login("doctor.b"))
    ask(furnished.login("doctor.b"), body("nobody"))

    furnished.gateway.audit_batcher.flush()
    with furnished.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT patient, entities FROM audit WHERE query = 'cds-services/counting'"
            " ORDER BY at_ms, seq"
        ).fetchall()
    seen = {row["patient"]: json.loads(row["entities"]) for row in rows}
    assert sorted(seen["pat-1"]) == [
        "Condition/con-1", "Observation/lab-1", "Observation/lab-2", "Patient/pat-1",
    ]  # fmt: skip
    assert len(rows) == 2


def register(house: House, name: str = "ward-screen") -> None:
    client = clients.Client(
        name, "A ward screen", scope="system/*.rs", organization="hospital-b",
        auth_method="private_key_jwt", jwks=json.dumps(SIGNER.jwks),
    )  # fmt: skip
    clients.register_client(house.gateway.store, client)


def sign(house: House, name: str = "ward-screen", path: str = SERVICE, **changes: Any) -> str:
    return SIGNER.assertion(house, name, **{"sub": None, "aud": BASE + path, **changes})


def call_signed(house: House, token: str, assertion: str) -> Any:
    sent = body(fhirAuthorization={"access_token": token, "token_type": "Bearer"})
    return house.client.post(SERVICE, json=sent, headers={"Authorization": f"Bearer {assertion}"})


def test_a_client_signs_its_calls(
    furnished: House, support: CountingSupport, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(furnished, "test")
    register(furnished)
    token, assertion = furnished.token("doctor.b"), sign(furnished, "test")

    assert must(call_signed(furnished, token, assertion)).json()["cards"]
    for refused in (
        assertion,  # used before
        sign(furnished),  # the token is another client's
        sign(furnished, "nobody"),
        sign(furnished, "test", aud=f"{BASE}/cds-services/other"),
        sign(furnished, "test", exp=furnished.clock() // 1000 - 1),
    ):
        assert call_signed(furnished, token, refused).status_code == 401
    bare = {"Authorization": f"Bearer {sign(furnished, 'test')}"}
    assert furnished.client.post(SERVICE, json=body(), headers=bare).status_code == 401
    two = body(fhirAuthorization={"access_token": furnished.token("doctor.a")})
    assert furnished.login("doctor.b").post(SERVICE, two).status_code == 401
    assert len(support.calls) == 1


def test_a_client_that_was_refused_signs_no_call_and_no_feedback(
    furnished: House, support: CountingSupport
) -> None:
    register(furnished, "test")
    token = furnished.token("doctor.b")
    (card,) = must(call_signed(furnished, token, sign(furnished, "test"))).json()["cards"]
    with furnished.gateway.store.write_transaction() as connection:
        connection.execute("UPDATE client SET approval = 'refused' WHERE id = 'test'")

    assert call_signed(furnished, token, sign(furnished, "test")).status_code == 403
    path = f"{SERVICE}/feedback"
    bearer = {"Authorization": f"Bearer {sign(furnished, 'test', path)}"}
    answer = furnished.client.post(path, json=told(card["uuid"]), headers=bearer)
    assert answer.status_code == 403


def told(card: str, **changes: Any) -> dict[str, Any]:
    outcome = {"card": card, "outcome": "accepted", "outcomeTimestamp": "2026-11-22T08:00:01Z"}
    return {"feedback": [{**outcome, **changes}]}


def outcomes(house: House) -> list[tuple[Any, ...]]:
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT patient, version, outcome, reason, comment FROM cds_card ORDER BY shown_ms, id"
        ).fetchall()
    return [tuple(row) for row in rows]


def test_feedback_is_kept_and_the_last_word_counts(
    furnished: House, support: CountingSupport
) -> None:
    doctor = furnished.login("doctor.b")
    (card,) = ask(doctor)
    reason = {"reason": {"code": "known", "system": SOURCE}, "userComment": "Seen on Monday."}

    for sent in (told(card["uuid"]), told(card["uuid"])):
        must(doctor.post(f"{SERVICE}/feedback", sent))
    assert outcomes(furnished) == [("pat-1", "counting/1", "accepted", "", "")]
    must(doctor.post(f"{SERVICE}/feedback",
                     told(card["uuid"], outcome="overridden", overrideReason=reason)))  # fmt: skip

    assert outcomes(furnished) == [
        ("pat-1", "counting/1", "overridden", "known", "Seen on Monday.")
    ]


def test_feedback_is_of_cards_that_the_sender_was_shown(
    furnished: House, support: CountingSupport
) -> None:
    register(furnished)
    register(furnished, "test")
    doctor, address = furnished.login("doctor.b"), f"{SERVICE}/feedback"
    (card,) = ask(doctor)
    both = {"feedback": told(card["uuid"])["feedback"] + told(str(uuid.uuid4()))["feedback"]}

    assert furnished.login("doctor.a").post(address, told(card["uuid"])).status_code == 404
    assert doctor.post(address, both).status_code == 404
    assert outcomes(furnished)[0][2] is None
    for client, status in (("ward-screen", 404), ("test", 200)):
        headers = {"Authorization": f"Bearer {sign(furnished, client, address)}"}
        answer = furnished.client.post(address, json=told(card["uuid"]), headers=headers)
        assert answer.status_code == status
    for fault, path in (
        ({"feedback": []}, "feedback"),
        (told(card["uuid"], outcome="read"), "feedback[0].outcome"),
        (told("x"), "feedback[0].card"),
        (told(card["uuid"], outcomeTimestamp="now"), "feedback[0].outcomeTimestamp"),
    ):
        answer = doctor.post(address, fault)
        assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (400, [path])


def test_half_a_surrogate_pair_is_refused(furnished: House, support: CountingSupport) -> None:
    (card,) = ask(furnished.login("doctor.b"))
    sent = told(card["uuid"], outcome="overridden", overrideReason={"userComment": "\ud800"})
    token = furnished.token("doctor.b")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    # As the six ASCII characters of its escape.
    answer = furnished.client.post(
        f"{SERVICE}/feedback", content=json.dumps(sent).encode(), headers=headers
    )

    path = "$this.feedback[0].overrideReason.userComment"
    assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (400, [path])


def test_an_emergency_that_is_over_opens_no_card(
    furnished: House, support: CountingSupport
) -> None:
    furnished.share("hospital-b", status="inactive")
    doctor = furnished.login("doctor.b")
    must(send(doctor, "Patient/pat-1/$declare-emergency", reason="Found unconscious"))
    assert summary(doctor) == "4 records"

    furnished.clock.forward(seconds=24 * 3600)
    assert ask(furnished.login("doctor.b")) == []
    assert len(support.calls) == 1


def test_who_is_hidden_deleted_or_was_never_born_is_answered_alike(
    furnished: House, support: CountingSupport
) -> None:
    furnished.share("hospital-b", status="inactive")
    platform = furnished.system("ehr-commons")
    must(platform.put(make_patient("gone", "ZD1234569")))
    must(platform.delete("Patient/gone"))

    doctor = furnished.login("doctor.b")
    answers = [
        doctor.post(SERVICE, body(name)) for name in ("pat-1", "gone", "nobody", "not-born-yet")
    ]

    assert {(one.status_code, one.text) for one in answers} == {(200, '{"cards":[]}')}
    shown = [{key: one.headers[key] for key in sorted(one.headers)} for one in answers]
    for headers in shown:
        headers.pop("x-request-id", None)
    assert all(headers == shown[0] for headers in shown)
    assert support.calls == []
    with furnished.gateway.store.read_transaction() as connection:
        assert not connection.execute("SELECT * FROM cds_card").fetchall()


def test_of_merged_accounts_one_is_told_as_a_part(
    furnished: House, support: CountingSupport
) -> None:
    doctor = furnished.login("doctor.b")
    assert summary(doctor) == "4 records"

    link = {"type": "replaces", "other": {"reference": "Patient/pat-2"}}
    merged = {**make_patient("pat-1", "ZA1234560"), "link": [link]}
    must(furnished.system("ehr-commons").put(merged))

    assert summary(doctor).endswith(", in part")


@pytest.mark.parametrize(("subjects", "status"), [(("pat-1",), 200), (("pat-1", "pat-2"), 400)])
def test_a_draft_with_a_list_of_subjects_is_held_against_each(
    furnished: House, support: CountingSupport, subjects: Sequence[str], status: int
) -> None:
    about = [{"reference": f"Patient/{one}"} for one in subjects]
    drafts = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": {"resourceType": "Account", "status": "active", "subject": about}}],
    }
    context = {**body()["context"], "draftOrders": drafts}

    answer = furnished.login("doctor.b").post(SERVICE, body(context=context))

    assert answer.status_code == status, answer.text
