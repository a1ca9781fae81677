"""Published consents: IHE PCF's nine have their notes' outcome, HL7's six are accepted or not.

The files are not part of this repository. Each of IHE's has an equivalent here, of the same
elements, which is judged by the same table where the files are absent.
"""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import Unprocessable
from ehr_privacy.consent import (
    Record,
    Requester,
    RuleRow,
    Rules,
    compile_predicate,
    decide,
    parse_scopes,
    record_facts,
    rule_rows,
)
from ehr_privacy.consent.clinical_consents import CATEGORY
from ehr_privacy.consent.labels import LABELS, parent_label

Json = dict[str, Any]
ACT, CONFIDENTIALITY = (
    f"http://terminology.hl7.org/CodeSystem/v3-{name}" for name in ("ActCode", "Confidentiality")
)
NORMAL = [{"system": CONFIDENTIALITY, "code": "N"}]
PSY = [{"system": ACT, "code": "PSY"}]
IRCP = {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
TREAT = [{"code": code} for code in ("TREAT", "HPAYMT", "HOPERAT")]
FOCUSED = {
    "type": "permit",
    "securityLabel": PSY,
    "actor": [
        {"role": {"coding": [IRCP]}, "reference": {"reference": "Practitioner/ex-practitioner"}}
    ],
}
PERMIT: Json = {"type": "permit", "purpose": TREAT}
RESTRICTED = {"system": CONFIDENTIALITY, "code": "R"}
VERY_RESTRICTED = {"system": CONFIDENTIALITY, "code": "V"}


def act(*codes: str) -> list[Json]:
    return [{"system": ACT, "code": code} for code in codes]


def data(meaning: str, *references: str) -> list[Json]:
    return [{"meaning": meaning, "reference": {"reference": one}} for one in references]


# What each file says, in the elements that rules are made of.
EQUIVALENTS: dict[str, Json] = {
    "basic-treat": PERMIT,
    "basic-ink": PERMIT,
    "basic-reject": {**PERMIT, "type": "deny"},
    "expired-treat": {**PERMIT, "period": {"end": "2022-12-31"}},
    "intermediate-authoredby": {
        **PERMIT, "data": data("authoredby", "Practitioner/ex-practitioner")
    },
    "intermediate-data": {
        **PERMIT, "data": data("instance", "Encounter/ex-encounter", "Observation/ex-weight")
    },
    "intermediate-timeframe": {
        **PERMIT, "dataPeriod": {"start": "2022-01-01", "end": "2022-12-31"}
    },
    "advanced-normal": {**PERMIT, "securityLabel": NORMAL},
    "advanced-normal-focused-psy": {
        **PERMIT, "securityLabel": NORMAL, "provision": [FOCUSED]
    },
    # The guide has these as well; their files are not among those kept beside this repository.
    "advanced-normal-restricted": {**PERMIT, "securityLabel": [*NORMAL, RESTRICTED]},
    "advanced-normal-not-restricted": {
        **PERMIT, "securityLabel": NORMAL,
        "provision": [{"type": "deny", "securityLabel": [RESTRICTED]}],
    },
    "advanced-normal-focused-restricted": {
        **PERMIT, "securityLabel": NORMAL,
        "provision": [{**FOCUSED, "securityLabel": [RESTRICTED]}],
    },
    "advanced-normal-focused-psy-or-sdv": {
        **PERMIT, "securityLabel": NORMAL,
        "provision": [{**FOCUSED, "securityLabel": act("PSY", "SDV")}],
    },
    "intermediate-not-timeframe": {
        **PERMIT, "provision": [
            {"type": "deny", "dataPeriod": {"start": "2022-01", "end": "2022-12"}}
        ],
    },
    "intermediate-not-data": {
        **PERMIT, "provision": [
            {"type": "deny", "data": data("instance", "Observation/ex-weight")}
        ],
    },
}  # fmt: skip


def observation(identity: str, day: str = "2022-05-01", **more: Any) -> Json:
    patient = {"reference": "Patient/ex-patient"}
    return {
        "resourceType": "Observation", "id": identity, "subject": patient,
        "effectiveDateTime": day, **more,
    }  # fmt: skip


def labelled(*labels: Json) -> Json:
    return observation("labelled", meta={"security": list(labels)})


UNKNOWN = {"system": ACT, "code": "SPI"}
RECORDS: dict[str, Json] = {
    "weight": observation("ex-weight"),
    "height": observation("height"),
    "of 2021": observation("earlier", "2021-12-31"),
    "by the practitioner": observation(
        "by", performer=[{"reference": "Practitioner/ex-practitioner"}]
    ),
    "normal": labelled(*NORMAL),
    "restricted": labelled(RESTRICTED),
    "PSY": labelled(*PSY),
    "PSY, restricted": labelled(*PSY, RESTRICTED),
    "PSY and HIV": labelled(*PSY, {"system": ACT, "code": "HIV"}),
    "ETHUD, restricted": labelled(*act("ETHUD"), RESTRICTED),
    "very restricted": labelled(VERY_RESTRICTED),
    "of an unknown label": labelled(UNKNOWN),
}
SCOPES = parse_scopes("user/*.rs")
WHO = {
    "a doctor": Requester("clinician", "dr", "ex-organization", "doctor", scopes=SCOPES),
    "the practitioner": Requester(
        "clinician", "ex-practitioner", "ex-organization", "doctor", scopes=SCOPES
    ),
    "an insurer": Requester("clinician", "in", "x", "doctor", "HPAYMT", scopes=SCOPES),
}
IN_TIME, LATER = "2022-07-01", "2023-01-01"
SENSITIVE = (
    *("restricted", "PSY", "PSY, restricted", "PSY and HIV", "ETHUD, restricted"),
    *("of an unknown label", "very restricted"),
)
NORMAL_RECORDS = tuple(name for name in RECORDS if name not in SENSITIVE)
UP_TO_R = tuple(name for name in RECORDS if name != "very restricted")
Permitted = set[tuple[str, str, str]]


def of(who: str, *records: str, at: str = IN_TIME) -> Permitted:
    return {(who, record, at) for record in records}


def everybody(*records: str, times: tuple[str, ...] = (IN_TIME, LATER)) -> Permitted:
    return {
        one
        for at in times
        for who in ("a doctor", "the practitioner")
        for one in of(who, *records, at=at)
    }


# What each note says, and what is permitted; all else of WHO, RECORDS and times is denied.
OUTCOMES: dict[str, tuple[str, Permitted]] = {
    "basic-treat": ("a token for treatment, without residual rules", everybody(*RECORDS)),
    "basic-ink": ("exactly the same as basic-treat", everybody(*RECORDS)),
    "basic-reject": ("no token: an error response", set()),
    "expired-treat": (
        "the same as basic-treat before it expires, an error after",
        everybody(*RECORDS, times=(IN_TIME,)),
    ),
    "intermediate-authoredby": (
        "nothing but what the practitioner authored",
        everybody("by the practitioner"),
    ),
    "intermediate-data": ("nothing but the data named", everybody("weight")),
    "intermediate-timeframe": (
        "nothing but what is of the time frame",
        everybody(*(name for name in RECORDS if name != "of 2021")),
    ),
    "advanced-normal": (
        "nothing but normal data",
        everybody(*(name for name in RECORDS if name not in SENSITIVE)),
    ),
    "advanced-normal-focused-psy": (
        "normal data, and mental health data for the practitioner alone",
        everybody(*(name for name in RECORDS if name not in SENSITIVE))
        | of("the practitioner", "PSY", "PSY, restricted")
        | of("the practitioner", "PSY", "PSY, restricted", at=LATER),
    ),
    "advanced-normal-restricted": (
        "normal and restricted data: levels are ordered, so all but the very restricted",
        everybody(*UP_TO_R),
    ),
    "advanced-normal-not-restricted": (
        "the denial of restricted data is redundant",
        everybody(*NORMAL_RECORDS),
    ),
    "advanced-normal-focused-restricted": (
        "for the practitioner no different from normal and restricted data",
        everybody(*NORMAL_RECORDS)
        | of("the practitioner", *UP_TO_R)
        | of("the practitioner", *UP_TO_R, at=LATER),
    ),
    "advanced-normal-focused-psy-or-sdv": (
        "as for mental health; several labels of one permission are alternatives",
        everybody(*NORMAL_RECORDS)
        | of("the practitioner", "PSY", "PSY, restricted")
        | of("the practitioner", "PSY", "PSY, restricted", at=LATER),
    ),
    "intermediate-not-timeframe": (
        "all but what is of the time frame",
        everybody("of 2021"),
    ),
    "intermediate-not-data": (
        "all but the data named",
        everybody(*(name for name in RECORDS if name != "weight")),
    ),
}
# Of the guide's files these are kept beside the repository.
FILES = tuple(OUTCOMES)[:9]


def equivalent(name: str) -> Json:
    return {
        "resourceType": "Consent",
        "id": name,
        "status": "active",
        "scope": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/consentscope",
                    "code": "patient-privacy",
                }
            ]
        },
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": "Patient/ex-patient"},
        "dateTime": "2022-06-13",
        "provision": deepcopy(EQUIVALENTS[name]),
    }


def check(sql_tables: Any, consent: Json, permitted: Permitted) -> None:
    joining: dict[str, str | int | None] = {
        "consent": "j",
        "patient": "ex-patient",
        "since": 0,
        "until": None,
    }
    rows = [RuleRow("consent_joining", joining), *rule_rows(consent)]
    facts = [record_facts(one, "another") for one in RECORDS.values()]
    sql_tables.fill(facts, rows)
    decided, found = set(), set()
    for at in (IN_TIME, LATER):
        now, _ = datetime_interval(at)
        for name, who in WHO.items():
            seen = sql_tables.visible(compile_predicate(who, "read", now))
            for number, record in enumerate(RECORDS):
                if decide(Rules(rows), who, "read", facts[number], now).permit:
                    decided.add((name, record, at))
                if number in seen:
                    found.add((name, record, at))
    assert decided == permitted
    assert found == permitted


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_consent_of_pcf_has_the_outcome_of_its_note(name: str, sql_tables: Any) -> None:
    check(sql_tables, equivalent(name), OUTCOMES[name][1])


@pytest.mark.parametrize("name", FILES)
def test_the_file_itself_has_it_too(name: str, sql_tables: Any, shared_data: Path) -> None:
    file = shared_data / "consent" / "ihe-pcf" / f"Consent-ex-consent-{name}.json"

    check(sql_tables, json.loads(file.read_text(encoding="utf-8")), OUTCOMES[name][1])


# Of each of HL7's examples: where it is refused, and why; None where it is accepted.
HL7 = {
    "Emergency": ("Consent.category", "category EMRGONLY: an emergency is declared, with a reason"),
    "grantor": ("Consent.category", "category INFAO: access to information is no rule here"),
    "notOrg": (None, "one organisation is refused: a restriction against it"),
    "notThis": ("Consent.provision.type", "neither permit nor deny, and related to a Task"),
    "pkb": ("Consent.provision.type", "neither permit nor deny: what it means is not said"),
    "smartonfhir": ("Consent.provision.type", "neither permit nor deny, for half an hour"),
}


@pytest.mark.parametrize("name", HL7)
def test_an_example_of_hl7_is_accepted_or_refused_with_the_place(
    name: str, shared_data: Path
) -> None:
    file = shared_data / "consent" / "hl7-r4" / f"consent-example-{name}.json"
    consent, (place, _) = json.loads(file.read_text(encoding="utf-8")), HL7[name]

    if place is None:
        (row,) = rule_rows(consent)
        assert row.table == "consent_restriction"
        assert (row.values["actor_kind"], row.values["actor_value"]) == ("organization", "f001")
    else:
        with pytest.raises(Unprocessable) as refused:
            rule_rows(consent)
        assert refused.value.issues[0].expression == place


def test_confidentiality_r_permits_what_is_not_very_restricted() -> None:
    consent = equivalent("advanced-normal")
    consent["provision"] = {**PERMIT, "securityLabel": [RESTRICTED]}

    closed = {row.values["label"] for row in rule_rows(consent) if "sealed" in row.values}

    assert closed == {"V"}


def test_what_a_consent_denies_within_a_permission_is_closed(sql_tables: Any) -> None:
    consent = equivalent("basic-treat")
    nested = {"type": "deny", "dataPeriod": {"start": "2021-12-31", "end": "2021-12-31"}}
    consent["provision"] = {**PERMIT, "provision": [nested]}

    check(sql_tables, consent, everybody(*(name for name in RECORDS if name != "of 2021")))


def test_what_is_permitted_to_an_organisation_within_a_denial_is_shared(sql_tables: Any) -> None:
    consent = equivalent("basic-reject")
    actor = {"role": {"coding": [IRCP]}, "reference": {"reference": "Organization/ex-organization"}}
    consent["provision"]["provision"] = [{"type": "permit", "actor": [actor]}]

    check(sql_tables, consent, everybody(*RECORDS))


@pytest.mark.parametrize(
    ("provision", "place"),
    [
        ({**PERMIT, "securityLabel": NORMAL, "provision": [{**FOCUSED, "securityLabel": NORMAL}]},
         "Consent.provision.provision[0].securityLabel"),
        ({**PERMIT, "provision": [FOCUSED]}, "Consent.provision.provision[0]"),
        ({**PERMIT, "type": "deny", "securityLabel": NORMAL}, "Consent.provision.securityLabel"),
        ({**PERMIT, "actor": FOCUSED["actor"]}, "Consent.provision.actor"),
        ({**PERMIT, "provision": [{**FOCUSED, "purpose": [{"code": "BTG"}]}]},
         "Consent.provision.provision[0].purpose"),
        ({**PERMIT, "code": [{"text": "x"}]}, "Consent.provision.code"),
    ],
)  # fmt: skip
def test_what_of_pcf_cannot_be_enforced_is_refused_with_its_place(
    provision: Json, place: str
) -> None:
    with pytest.raises(Unprocessable) as refused:
        rule_rows({**equivalent("basic-treat"), "provision": provision})

    assert refused.value.issues[0].expression == place


# No label, one, pairs, and some threes.
LABEL_SETS = [
    frozenset(labels)
    for size in range(3)
    for labels in combinations(("PSY", "HIV", "ETH", "ETHUD", "OPIOIDUD", "R", "V"), size)
] + [frozenset({"PSY", "HIV", "R"}), frozenset({"ETHUD", "OPIOIDUD", "R"})]
PERMITTED: tuple[list[str], ...] = (
    *([], ["N"], ["R"], ["V"], ["PSY"], ["N", "PSY"], ["ETHUD"], ["ETH"], ["N", "ETHUD"]),
    *(["PSY", "HIV"], ["R", "PSY"]),
)
LEVELS = ("N", "R", "V")
TERM: dict[str, str | int | None] = {"patient": "ex-patient", "since": 0, "until": None}
JOINED = RuleRow("consent_joining", {"consent": "j", **TERM})
SHARED = RuleRow("consent_sharing", {"consent": "s", "organization": "*", **TERM})


def label_coding(label: str) -> Json:
    return {"system": CONFIDENTIALITY if label in LEVELS else ACT, "code": label}


def with_broader(labels: frozenset[str]) -> frozenset[str]:
    return labels | {parent_label(label) for label in labels}


def opens(borne: frozenset[str], closing: frozenset[str], *permits: list[str]) -> bool:
    """Say by the words of the guide whether permissions together open a record."""
    if [] in permits:
        return True
    levels = [LEVELS.index(label) for named in permits for label in named if label in LEVELS]
    named = borne & {label for labels in permits for label in labels} - {*LEVELS}
    if not levels and not named:
        return False
    lifted = named | {parent_label(label) for label in named} | ({"R"} if named else set())
    by_level = {"N": 0, "V": 2}
    return all(
        by_level.get(label, 1) <= max(levels, default=-1)
        or label in lifted
        or parent_label(label) in named
        for label in closing
    )


def nested_consent(kind: str, root: list[str], nested: list[str]) -> Json:
    consent = equivalent("basic-treat")
    provision: Json = {"type": "permit" if kind == "permit" else "deny"}
    permit: Json = {"type": "permit", "actor": FOCUSED["actor"]}
    for node, labels in ((provision, root), (permit, nested)):
        if labels:
            node["securityLabel"] = [label_coding(label) for label in labels]
    if kind == "restriction":
        category = {"system": CATEGORY, "code": "restriction"}
        consent["category"] = [{"coding": [category]}]
    return {**consent, "provision": {**provision, "provision": [permit]}}


def is_open(kind: str, root: list[str], nested: list[str], labels: frozenset[str]) -> bool:
    borne = with_broader(labels)
    if kind == "permit":
        return opens(borne, borne, root, nested)
    narrower = {label for label in LABELS if parent_label(label) in root}
    denied = {*root, *narrower} | ({"V"} if "R" in root else set())
    if kind == "deny" and "R" in root:
        denied = {*LABELS}
    closing = borne if not root else borne & denied
    untouched = bool(root) and not closing
    return untouched or opens(borne, closing, nested)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["permit", "deny", "restriction"])
@pytest.mark.parametrize("nested", PERMITTED, ids="+".join)
def test_a_record_opens_only_if_every_label_that_closes_it_is_permitted(
    sql_tables: Any, kind: str, nested: list[str]
) -> None:
    who, (now, _) = WHO["the practitioner"], datetime_interval(IN_TIME)
    records = [
        Record("Observation", str(number), frozenset({"ex-patient"}), labels=with_broader(labels))
        for number, labels in enumerate(LABEL_SETS)
    ]
    for root in PERMITTED:
        try:
            rows = [JOINED, SHARED, *rule_rows(nested_consent(kind, root, nested))]
        except Unprocessable:
            continue  # what opens nothing, or denies what is normal
        expected = {n for n, one in enumerate(LABEL_SETS) if is_open(kind, root, nested, one)}
        sql_tables.fill(records, rows)

        decided = {
            number
            for number, record in enumerate(records)
            if decide(Rules(rows), who, "read", record, now).permit
        }

        assert decided == expected, (root, nested)
        assert sql_tables.visible(compile_predicate(who, "read", now)) == expected, (root, nested)
