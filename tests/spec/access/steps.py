"""The steps that the tests of access take over HTTP."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.notices.one_time_codes import compute_code
from tests.lib.gateway import PIN, House, Session, must

REASON = "Checking the dose against the last films"


def body(**given: Any) -> dict[str, Any]:
    """Return a Parameters resource; a list gives a parameter several times."""
    listed = []
    for name, values in given.items():
        for value in values if isinstance(values, (list, tuple)) else [values]:
            kind = "valueInteger" if isinstance(value, int) else "valueString"
            listed.append({"name": name.replace("_", "-"), kind: value})
    return {"resourceType": "Parameters", "parameter": listed}


def send(session: Session, address: str, **given: Any) -> Any:
    """Call an operation."""
    return session.post(address, body(**given))


def named(answer: Any) -> dict[str, list[Any]]:
    """Return the parameters of an answer by name; parts as the same."""
    return _named(must(answer).json().get("parameter", []))


def ask(
    clinician: Session, patient: str = "pat-1", *, hours: int = 24, domain: str = "radiology"
) -> str:
    """Make a request and return its id."""
    answer = send(
        clinician, f"Patient/{patient}/$request-access", reason=REASON, domain=domain, hours=hours
    )
    return str(named(answer)["id"][0])


def redeem(house: House, clinician: Session, request: str, code: str | None = None) -> Any:
    """Type a code; the right one when none is given."""
    typed = code or compute_code(house.gateway.form_secret, request)
    return send(clinician, "$redeem-access", request=request, code=typed)


def told(house: House, session: Session | None = None) -> list[tuple[str, str]]:
    """Return the kinds and texts of somebody's notices; of pat-1 when nobody is named."""
    found = named((session or house.login("p.pat-1")).get("$notices")).get("notice", [])
    return [(one["kind"][0], one["text"][0]) for one in found]


def grants(house: House) -> int:
    """Count the grants in the rule table."""
    with house.gateway.store.read_transaction() as connection:
        return int(connection.execute("SELECT COUNT(*) FROM consent_grant").fetchone()[0])


def carer(
    house: House, login: str, *, power: str = "both", hkid: str | None = None, **limits: Any
) -> Session:
    """Let pat-1 invite a carer who accepts."""
    accounts.add_account(
        house.gateway.store,
        Account(login, "carer", "Carer One"),
        identity_number=hkid,
        pin=PIN if hkid else None,
    )
    invited = send(house.login("p.pat-1"), "Patient/pat-1/$invite-carer", power=power, **limits)
    session = house.login(login)
    must(send(session, "$accept-invitation", code=named(invited)["code"][0]))
    return session


def xray(house: House, name: str, patient: str = "pat-1") -> None:
    """Let hospital-a write an X-ray study: radiology, restricted for pharmacists."""
    house.system("hospital-a").store(
        {
            "resourceType": "ImagingStudy",
            "id": name,
            "status": "available",
            "subject": {"reference": f"Patient/{patient}"},
        }
    )


def _named(listed: list[dict[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for one in listed:
        held = [one[key] for key in one if key.startswith("value")]
        found[one["name"]].append(held[0] if held else _named(one.get("part", [])))
    return dict(found)
