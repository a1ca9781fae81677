"""Print what each part makes of the facts of a place, as JSON; run in a process of its own.

The facts are read once, before anything else, so a test of another place cannot share a process.

    EHR_JURISDICTION=tests/data/jurisdictions/ruritania.toml python -m tests.lib.facts_of_place DATA
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from ehr_analytics.output_checks import _ID_VALUE
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.app import create_gateway
from ehr_gateway.oauth.offline_tokens import issue_local_token
from ehr_gateway.settings import GatewaySettings
from ehr_portal.i18n import LANGUAGES, day_start
from ehr_privacy.consent import rule_rows
from ehr_privacy.deid.rules import load_rules

JOINING: dict[str, Any] = {
    "resourceType": "Consent",
    "id": "joining",
    "status": "active",
    "scope": {
        "coding": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/consentscope",
                "code": "patient-privacy",
            }
        ]
    },
    "category": [
        {
            "coding": [
                {
                    "system": f"{JURISDICTION.fhir_base}/CodeSystem/consent-category",
                    "code": "joining",
                }
            ]
        }
    ],
    "patient": {"reference": "Patient/p"},
    "dateTime": "2020-06-01",
    "policyRule": {"text": "As the law says."},
    "provision": {"type": "permit", "period": {"start": "2020-07-01", "end": "2020-07-01"}},
}


def main(data: Path) -> None:
    """Ask every part that reads a fact of the place."""
    settings = GatewaySettings(data=data)
    with TestClient(create_gateway(settings)) as client:
        token = issue_local_token(data, client="loader", scope="system/*.cruds")
        written = client.post(
            "/fhir/Patient",
            headers={"Authorization": f"Bearer {token}"},
            json={
                "resourceType": "Patient",
                "meta": {"source": f"{JURISDICTION.base}/organization/zenda-hospital"},
            },
        )
    answers = {
        "audit_origin": settings.audit_origin,
        "written": written.status_code,
        "outcome": written.json(),
        "since": rule_rows(JOINING)[0].values["since"],
        "day": day_start(date(2020, 7, 1)),
        "languages": [language.tag for language in LANGUAGES],
        "region": load_rules().regions["Zenda"],
        "identifier": bool(_ID_VALUE.fullmatch("943 476 5919")),
    }
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
