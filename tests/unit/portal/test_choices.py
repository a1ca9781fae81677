"""The history of choices, undoing one, and what a hospital would see before a choice is saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_portal.sharing.choices import CHOICE_TITLES, parse_choices, plan_undo
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
CHOICES = "Patient/pat-1/$choices"
PREVIEW = "Patient/pat-1/$preview-access"
B = {"reference": {"reference": "Organization/st-b"}}


def content(category: str = "sharing", status: str = "active", **provision: Any) -> dict[str, Any]:
    system = "https://ehr-commons.hk/fhir/CodeSystem/consent-category"
    return {
        "resourceType": "Consent",
        "id": "share-st-b",
        "meta": {"versionId": "2"},
        "status": status,
        "category": [{"coding": [{"system": system, "code": category}]}],
        "provision": {"type": "permit", "actor": [B], **provision},
    }


def choice(
    version: int = 2, *, newest: bool = True, resource: dict[str, Any] | None = None, **values: Any
) -> dict[str, Any]:
    resource = content() if resource is None else resource
    category = resource["category"][0]["coding"][0]["code"]
    said = {"category": category, "at": f"2026-11-2{version}T08:00:00Z", "made-by": "self"}
    said |= {"consent": "share-st-b"} | {k.replace("_", "-"): v for k, v in values.items()}
    parts: list[dict[str, Any]] = [{"name": k, "valueString": v} for k, v in said.items()]
    parts += [
        {"name": "version", "valueInteger": version},
        {"name": "newest", "valueBoolean": newest},
        {"name": "content", "resource": resource},
    ]
    return {"name": "choice", "part": parts}


def answer(*choices: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(choices)}


def undone(*choices: dict[str, Any]) -> Any:
    parsed = parse_choices(answer(*choices))
    return plan_undo(parsed, parsed[0], NOW)


OFF = content(status="inactive")
OVER = content(period={"start": "2025-01-01", "end": "2026-01-01"})
FUTURE = content(period={"start": "2025-01-01", "end": "2027-01-01"})
GRANT = content("step-up")


@pytest.mark.parametrize(
    ("case", "choices", "expected"),
    [
        ("the first is taken back", [choice(1)], ("inactive", None)),
        (
            "what was off before is off again",
            [choice(2), choice(1, newest=False, resource=OFF)],
            ("inactive", None),
        ),
        (
            "what was on begins anew, from now",
            [choice(2, resource=OFF), choice(1, newest=False)],
            ("active", {"start": "2026-11-22T08:00:00+00:00"}),
        ),
        (
            "with the end that it had",
            [choice(2, resource=OFF), choice(1, newest=False, resource=FUTURE)],
            ("active", {"start": "2026-11-22T08:00:00+00:00", "end": "2027-01-01"}),
        ),
        (
            "a term that is over does not begin again",
            [choice(2, resource=OFF), choice(1, newest=False, resource=OVER)],
            None,
        ),
        ("an older version is not undone", [choice(1, newest=False)], None),
        ("a grant is not undone", [choice(1, resource=GRANT)], None),
        ("nothing is known of before", [choice(3)], None),
    ],
)
def test_undo_writes_what_was_before(
    case: str, choices: list[dict[str, Any]], expected: tuple[str, Any] | None
) -> None:
    found = undone(*choices)

    if expected is None:
        assert found is None, case
    else:
        assert (found["status"], found["provision"].get("period")) == expected, case
        # Against the version that was shown.
        assert found["meta"] == {"versionId": "2"}


def test_each_category_and_state_has_its_words() -> None:
    for (category, state), title in CHOICE_TITLES.items():
        if category == "notices":
            continue
        kind = {"type": state} if category == "research" and state != "inactive" else {}
        status = "active" if kind else state
        (parsed,) = parse_choices(answer(choice(resource=content(category, status, **kind))))
        assert parsed.title == title


def test_the_page_lists_choices_and_undoes_one(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.fake.resources["Consent", "share-st-b"]["meta"] = {"versionId": "2"}
    grant = choice(5, resource=GRANT, final="true", ended="2026-11-20T08:00:00Z")
    portal.fake.operations[CHOICES] = answer(
        grant, choice(2), choice(1, newest=False, resource=OFF, made_by="carer", display="HO Mei")
    )

    shown = portal.browser.get("/choices").text
    sent = portal.send("/choices", "/choices/undo", consent="share-st-b", version="2")

    assert shown.count('name="version"') == 1
    assert "Ended for good" in shown
    assert "By a carer: <span" in shown and "HO Mei" in shown
    assert "St B&#39;s Hospital" in shown
    assert sent.headers["location"] == "/choices"
    assert portal.fake.written()[-1]["status"] == "inactive"


def test_a_choice_that_changed_meanwhile_is_not_undone(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.fake.operations[CHOICES] = answer(choice(2), choice(1, newest=False, resource=OFF))

    portal.send("/choices", "/choices/undo", consent="share-st-b", version="1")
    assert "changed meanwhile" in portal.browser.get("/choices").text
    # At the gateway it is version 1: somebody restored it.
    portal.send("/choices", "/choices/undo", consent="share-st-b", version="2")
    assert "changed meanwhile" in portal.browser.get("/choices").text
    assert portal.fake.resources["Consent", "share-st-b"]["status"] == "active"


def preview_answer(*rows: tuple[str, int, int, int]) -> dict[str, Any]:
    return answer(
        *(
            {
                "name": "domain",
                "part": [
                    {"name": "code", "valueCode": code},
                    *(
                        {"name": name, "valueInteger": number}
                        for name, number in zip(("now", "after", "own"), numbers, strict=True)
                    ),
                ],
            }
            for code, *numbers in rows
        )
    )


def test_a_switch_is_previewed_and_nothing_is_saved(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.fake.operations[PREVIEW] = preview_answer(("person", 1, 0, 0), ("laboratory", 7, 2, 2))

    shown = portal.browser.get("/sharing/preview?organization=st-b&profession=nurse").text

    assert "If you turn sharing with" in shown and "off" in shown
    assert "<td>7</td>" in shown and "<strong>2</strong>" in shown
    assert "2 written by itself" in shown
    (asked,) = portal.fake.written()
    assert [p["valueString"] for p in asked["parameter"][:2]] == ["st-b", "nurse"]
    assert asked["parameter"][2]["resource"]["status"] == "inactive"
    assert portal.fake.resources["Consent", "share-st-b"]["status"] == "active"


def test_a_restriction_is_previewed_before_it_is_made(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.fake.operations[PREVIEW] = preview_answer(("laboratory", 7, 0, 0))
    fields = {"domain": "laboratory", "against": "everyone", "step": "preview"}

    incomplete = portal.send("/sharing/close", "/sharing/close", **fields)
    shown = portal.send(
        "/sharing/close", "/sharing/close", **fields, **{"preview-organization": "st-b"}
    )

    assert incomplete.status_code == 422
    assert "<strong>0</strong>" in shown.text and "fewer than now" in shown.text
    # What was chosen is still chosen.
    assert '<option value="laboratory" selected>' in shown.text
    (asked,) = portal.fake.written()
    assert asked["parameter"][2]["resource"]["provision"]["class"][0]["code"] == "laboratory"
