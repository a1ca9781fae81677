"""A simulator of the government's electronic identity: an application of its own, for the demo.

It shares nothing with the gateway but the machine: the gateway sends people to its page and asks
its token endpoint over HTTP, as it would ask the real one.
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
from ehr_gateway.accounts import eid_people, throttle
from ehr_gateway.database import Database
from ehr_gateway.html import pages
from ehr_gateway.http.body import form_fields
from ehr_gateway.login import eid_codes
from ehr_gateway.login.browser import address_of
from ehr_gateway.login.eid import SIMULATOR

Form = Annotated[dict[str, str], Depends(form_fields)]
_PAGE_SECONDS = 900
_ASKED = ("client_id", "redirect_uri", "state", "code_challenge")


def create_simulator(
    database: Database, base_url: str, redirect_uri: str, secret: str, clock: Callable[[], int]
) -> FastAPI:
    """Make the application for one service; `secret` is what that service proves itself by."""
    app = FastAPI(title="eID simulator", openapi_url=None)
    app.add_exception_handler(EhrError, _malformed)
    sealer = URLSafeTimedSerializer(secret, salt="eid simulator")
    here = f"{SIMULATOR}/authorize"

    def show(asked: dict[str, str], language: str, problem: str = "") -> Response:
        return pages.render_page(
            "eid.html",
            language,
            status=401 if problem else 200,
            # The service sends the browser on to a program that this one does not know.
            goes_to="*",
            here=here,
            request_token=sealer.dumps(asked),
            error=problem,
            error_field="hkid",
            action=here,
            back=f"{asked['redirect_uri']}?"
            + urlencode({"error": "access_denied", "state": asked["state"], "iss": base_url}),
        )

    def wrong(language: str) -> Response:
        return pages.render_page(
            "stopped.html", language, status=400, here="", error="", error_field="", reason="stale"
        )

    @app.get("/authorize")
    def authorize(request: Request) -> Response:
        """Show the form; in another language when asked again with what was sealed."""
        query = request.query_params
        language = pages.choose_language(
            query.get("lang", ""), request.headers.get("accept-language", "")
        )
        if "request" in query:
            again = _opened(sealer, query["request"])
            return show(again, language) if again else wrong(language)
        asked = {name: query.get(name, "") for name in _ASKED}
        known = asked["client_id"] == eid_people.CLIENT_ID and asked["redirect_uri"] == redirect_uri
        if not known or not all(asked.values()) or query.get("response_type") != "code":
            return wrong(language)
        return show(asked, language)

    @app.post("/authorize")
    def prove(request: Request, form: Form) -> Response:
        """Check card and PIN; send the person back with a code."""
        language = pages.choose_language(
            request.query_params.get("lang", ""), request.headers.get("accept-language", "")
        )
        asked = _opened(sealer, form.get("request", ""))
        if asked is None:
            return wrong(language)
        card, address = form.get("hkid", ""), address_of(request)
        name = f"eid:{eid_people.normalise_identity_number(card)}"
        wait = throttle.admit_attempt(database, name, address, clock())
        if wait:
            return show(asked, language, pages.load_texts()["wait"][language].format(seconds=wait))
        known_as = eid_people.identify_person(
            database, card, form.get("pin", ""), asked["client_id"]
        )
        if known_as is None:
            return show(asked, language, pages.load_texts()["wrong_pin"][language])
        with database.write_transaction() as connection:
            throttle.record_success(connection, name, address)
        grant = eid_codes.EidCode(
            asked["client_id"], asked["redirect_uri"], asked["code_challenge"], known_as
        )
        code = eid_codes.issue(database, grant, clock())
        query = urlencode({"code": code, "state": asked["state"], "iss": base_url})
        return RedirectResponse(
            f"{asked['redirect_uri']}?{query}", 303, headers={"Cache-Control": "no-store"}
        )

    @app.post("/token")
    def token(form: Form) -> Response:
        """Tell a service who the person is, for a code."""
        known = hmac.compare_digest(form.get("client_secret", "").encode(), secret.encode())
        if not known or form.get("client_id") != eid_people.CLIENT_ID:
            return _answer({"error": "invalid_client"}, 401)
        known_as = eid_codes.redeem(
            database,
            form.get("code", ""),
            form["client_id"],
            form.get("redirect_uri", ""),
            form.get("code_verifier", ""),
            clock(),
        )
        if known_as is None:
            return _answer({"error": "invalid_grant"}, 400)
        return _answer({"accessToken": secrets.token_urlsafe(32), "openID": known_as}, 200)

    return app


async def _malformed(_: Request, error: Exception) -> Response:
    return _answer({"error": "invalid_request"}, http_status(error))  # type: ignore[arg-type]


def _opened(sealer: URLSafeTimedSerializer, sealed: str) -> dict[str, str] | None:
    try:
        asked: dict[str, str] = sealer.loads(sealed, max_age=_PAGE_SECONDS)
    except BadSignature:
        return None
    return asked


def _answer(body: dict[str, str], status: int) -> Response:
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})
