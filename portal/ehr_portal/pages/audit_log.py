"""The audit log for the steward and the auditor: search it, and work off what is unusual."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid
from ehr_portal.i18n import N_, day_start
from ehr_portal.oversight.audit_log import RULES, VERDICTS, WHYS, events, flags
from ehr_portal.record.record import providers
from ehr_portal.web.request import AnyPage, Form, Page, StewardPage

router = APIRouter()
_LINES = "50"
_WORD = re.compile(r"[^\s|&?#]{1,64}")


def _keeper(page: AnyPage) -> Page:
    if page.user.role not in ("steward", "auditor"):
        raise Forbidden("This page is for data stewards and auditors.")
    return page


KeeperPage = Annotated[Page, Depends(_keeper)]


@router.get("/audit")
async def search(
    page: KeeperPage,
    patient: Annotated[str, Query()] = "",
    person: Annotated[str, Query()] = "",
    organization: Annotated[str, Query()] = "",
    reason: Annotated[str, Query()] = "",
    since: Annotated[str, Query(alias="from")] = "",
    until: Annotated[str, Query(alias="to")] = "",
    older: Annotated[str, Query()] = "",
) -> Response:
    """Show events, newest first, of all or of those asked for."""
    chosen = {
        "patient": patient, "person": person, "organization": organization, "reason": reason,
        "from": since, "to": until,
    }  # fmt: skip
    kept = {name: value.strip() for name, value in chosen.items() if value.strip()}
    link = page.stay.recall(older) if older else None
    query = urlencode([("_count", _LINES), *_asked(kept)])
    found = await page.gateway.follow(link or f"/fhir/AuditEvent?{query}")
    return page.render(
        "audit.html",
        events=events(found.matches),
        chosen=chosen,
        known=await providers(page.gateway),
        older=page.stay.remember(found.next) if found.next else "",
        first=not older,
        kept=urlencode(kept),
        WHYS=WHYS,
    )


@router.get("/unusual")
async def unusual(
    page: KeeperPage, settled: Annotated[str, Query()] = "", older: Annotated[str, Query()] = ""
) -> Response:
    """Show what the monitor flagged: what is open, or what was settled."""
    status = "settled" if settled else "open"
    link = page.stay.recall(older) if older else None
    address = f"/fhir/AuditEvent/$worklist?status={status}&_count=20"
    found = await page.gateway.follow(link or address)
    return page.render(
        "unusual.html",
        flags=flags(found.matches),
        settled=bool(settled),
        may_settle=page.user.role == "steward",
        known=await providers(page.gateway),
        older=page.stay.remember(found.next) if found.next else "",
        RULES=RULES,
        VERDICTS=VERDICTS,
    )


@router.post("/unusual/settle")
async def settle(page: StewardPage, form: Form) -> Response:
    """Settle one flag with a verdict and a note."""
    given = {name: form.get(name, "").strip() for name in ("item", "verdict", "note")}
    body = {
        "resourceType": "Parameters",
        "parameter": [{"name": name, "valueString": value} for name, value in given.items()],
    }
    try:
        await page.gateway.call("AuditEvent/$settle", body)
        page.stay.note("done", page.text(N_("It is settled, and your note is kept with it.")))
    except Conflict:
        page.stay.note("problem", page.text(N_("Somebody settled it a moment ago.")))
    except Invalid:
        page.stay.note("problem", page.text(N_("Say what you found, and write a note.")))
    return page.go("/unusual")


def _asked(kept: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the parameters of the gateway's search; what cannot be one asks for nothing."""
    asked = []
    for name, parameter in (("patient", "patient"), ("person", "altid")):
        if _WORD.fullmatch(kept.get(name, "")):
            asked.append((parameter, kept[name]))
    if "organization" in kept:
        asked.append(("agent", f"Organization/{kept['organization']}"))
    if kept.get("reason") in WHYS:
        asked.append(("reason", kept["reason"]))
    for name, prefix, more in (("from", "ge", 0), ("to", "lt", 1)):
        try:
            day = date.fromisoformat(kept.get(name, "")) + timedelta(days=more)
        except ValueError:
            continue
        asked.append(("date", f"{prefix}{day_start(day)}"))
    return asked
