"""Simulator of an electronic identity provider: an application of its own, for demonstrations.

The gateway redirects people to its page and calls its token endpoint over HTTP, as it would with a
real provider. They share nothing but the process and the database.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_fhir.errors import EhrError, http_status
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.accounts import eid_people, throttle
from ehr_gateway.database import Database
from ehr_gateway.html import pages
from ehr_gateway.http.body import read_form
from ehr_gateway.login import eid_codes
from ehr_gateway.login.browser import client_network
from ehr_gateway.login.eid import SIMULATOR_PATH

Form = Annotated[dict[str, str], Depends(read_form)]
_PAGE_LIFETIME_SECONDS = 900
_PARAMETERS = ("client_id", "redirect_uri", "state", "code_challenge")


def create_simulator(
    database: Database, base_url: str, redirect_uri: str, secret: str, clock: Callable[[], int]
) -> FastAPI:
    """Create the application for one client, which authenticates by `secret`."""
    app = FastAPI(title="eID simulator", openapi_url=None)
    app.add_exception_handler(EhrError, _write_error)
    sealer = URLSafeTimedSerializer(secret, salt="eid simulator")
    page_path = f"{SIMULATOR_PATH}/authorize"

    def render_form(parameters: dict[str, str], language: str, problem: str = "") -> Response:
        return pages.render_page(
            "eid.html",
            language,
            status=401 if problem else 200,
            # The client redirects the browser on to an app that the simulator does not know.
            form_target="*",
            here=page_path,
            request_token=sealer.dumps(parameters),
            error=problem,
            error_field="hkid",
            action=page_path,
            back=f"{parameters['redirect_uri']}?"
            + urlencode({"error": "access_denied", "state": parameters["state"], "iss": base_url}),
        )

    def render_stopped(language: str) -> Response:
        return pages.render_page(
            "stopped.html",
            language,
            status=400,
            reason="stale",
        )

    @app.get("/authorize")
    def authorize(request: Request) -> Response:
        """Show the form, also in another language when the page is asked for again."""
        query = request.query_params
        language = pages.page_language(request)
        if "request" in query:
            sealed_parameters = _unseal(sealer, query["request"])
            return (
                render_form(sealed_parameters, language)
                if sealed_parameters
                else render_stopped(language)
            )
        parameters = {name: query.get(name, "") for name in _PARAMETERS}
        is_known = (
            parameters["client_id"] == eid_people.CLIENT_ID
            and parameters["redirect_uri"] == redirect_uri
        )
        if not is_known or not all(parameters.values()) or query.get("response_type") != "code":
            return render_stopped(language)
        return render_form(parameters, language)

    @app.post("/authorize")
    def prove(request: Request, form: Form) -> Response:
        """Check identity number and PIN; redirect back with a code."""
        language = pages.page_language(request)
        parameters = _unseal(sealer, form.get("request", ""))
        if parameters is None:
            return render_stopped(language)
        card, address = form.get("hkid", ""), client_network(request)
        name = f"eid:{JURISDICTION.person_identifier.normalize(card)}"
        wait = throttle.admit_attempt(database, name, address, clock())
        if wait:
            return render_form(
                parameters, language, pages.load_texts()["wait"][language].format(seconds=wait)
            )
        eid_subject = eid_people.identify_person(
            database, card, form.get("pin", ""), parameters["client_id"]
        )
        if eid_subject is None:
            return render_form(parameters, language, pages.load_texts()["wrong_pin"][language])
        with database.write_transaction() as connection:
            throttle.record_success(connection, name, address)
        grant = eid_codes.EidCode(
            parameters["client_id"],
            parameters["redirect_uri"],
            parameters["code_challenge"],
            eid_subject,
        )
        code = eid_codes.issue_eid_code(database, grant, clock())
        query = urlencode({"code": code, "state": parameters["state"], "iss": base_url})
        return RedirectResponse(
            f"{parameters['redirect_uri']}?{query}", 303, headers={"Cache-Control": "no-store"}
        )

    @app.post("/token")
    def token(form: Form) -> Response:
        """Exchange a code for the person's subject."""
        is_known = hmac.compare_digest(form.get("client_secret", "").encode(), secret.encode())
        if not is_known or form.get("client_id") != eid_people.CLIENT_ID:
            return _write_json({"error": "invalid_client"}, 401)
        eid_subject = eid_codes.redeem_eid_code(
            database,
            form.get("code", ""),
            form["client_id"],
            form.get("redirect_uri", ""),
            form.get("code_verifier", ""),
            clock(),
        )
        if eid_subject is None:
            return _write_json({"error": "invalid_grant"}, 400)
        return _write_json({"accessToken": secrets.token_urlsafe(32), "openID": eid_subject}, 200)

    return app


async def _write_error(_: Request, error: Exception) -> Response:
    return _write_json({"error": "invalid_request"}, http_status(error))  # type: ignore[arg-type]


def _unseal(sealer: URLSafeTimedSerializer, sealed: str) -> dict[str, str] | None:
    try:
        parameters: dict[str, str] = sealer.loads(sealed, max_age=_PAGE_LIFETIME_SECONDS)
    except BadSignature:
        return None
    return parameters


def _write_json(body: dict[str, str], status: int) -> Response:
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})
