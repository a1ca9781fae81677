"""An address that is none of ours is not found, with the headers of every page; nothing breaks."""

from __future__ import annotations

from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from fastapi.testclient import TestClient

from ehr_fhir.errors import NotFound
from ehr_portal.gateway.client import GatewayClient
from ehr_portal.web.headers import HEADERS, SCRIPT_POLICY
from tests.lib.portal_house import PortalHouse
from tests.lib.portal_routes import VARIABLES, Values, routes

ODD = (
    "pa%0d%0aX:y", "pa%0aSet-Cookie:a=b", "p%3Fx=1", "p%23x", "..", "%2e%2e", "%2e%2e%2f%2e%2e",
    "..%2f..%2foauth%2ftoken", "%00", "pat-1%00", "%ff%fe", "%C0%AF", "%E9", "%F0%9F%92%A9", "陳",
    "a" * 600, "a%2Fb", "a%5Cb", "%25%30%30", "%20", "pat-1%20", "<script>", "%22%3E", "a;b", "a:b",
    "a,b", "*", "$x", "%7F", "%E2%80%AE", "|", "{{7*7}}",
)  # fmt: skip


def is_page_with_headers(answer: Any) -> bool:
    """Say whether an answer has the headers of every page, each once."""
    # A clinician's pages run our script.
    policies = [HEADERS["Content-Security-Policy"], SCRIPT_POLICY]
    return all(
        len(values := answer.headers.get_list(name)) == 1
        and values[0] in (policies if name == "Content-Security-Policy" else [value])
        for name, value in HEADERS.items()
    )


@pytest.fixture(scope="module")
def browsers() -> dict[str, TestClient]:
    """Return a browser in which nobody, a patient and a doctor are logged in."""
    logged_in = {who: PortalHouse().log_in(who) for who in ("patient", "doctor")}
    return {"": PortalHouse().browser, **logged_in}


@pytest.mark.parametrize(("method", "path"), routes())
def test_an_odd_value_in_any_place_of_any_path_is_not_found(
    browsers: dict[str, TestClient], method: str, path: str
) -> None:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    for name in names:
        for odd in ODD:
            # httpx would tidy `..` away before it is sent.
            address = path.format_map(Values(VARIABLES, **{name: odd}))
            for who, browser in browsers.items():
                answer = browser.request(method, browser.base_url.join(address))
                # Two segments may be another page's address.
                is_other = odd in ("..", "a%2Fb")
                assert is_other or answer.status_code == 404, (who, method, address)
                assert is_page_with_headers(answer), (who, method, address)
                assert "x" not in answer.headers
                assert is_other or "set-cookie" not in answer.headers
    for odd in ODD:
        for who, browser in browsers.items():
            answer = browser.request(method, path.format_map(VARIABLES) + odd)
            assert answer.status_code < 500, (who, method, path, odd)
            assert is_page_with_headers(answer), (who, method, path, odd)


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//x"])
def test_a_file_outside_is_not_found(browsers: dict[str, TestClient], path: str) -> None:
    answer = browsers[""].get(path)

    assert answer.status_code == 404
    assert is_page_with_headers(answer)


def test_a_query_with_odd_bytes_breaks_no_page(browsers: dict[str, TestClient]) -> None:
    pages = ("/", "/record", "/patients", "/who-looked", "/sharing/why", "/sharing/close", "/audit",
             "/callback", "/language/en", "/patients/pat-1/emergency")  # fmt: skip
    names = ("search", "older", "back", "record", "code", "state", "patient", "domain", "next")
    for page in pages:
        for odd in ODD:
            query = "&".join(f"{name}={odd}" for name in names)
            for who, browser in browsers.items():
                answer = browser.get(f"{page}?{query}")
                assert answer.status_code < 500, (who, page, odd)
                assert is_page_with_headers(answer), (who, page, odd)


def test_a_fault_of_a_page_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    house = PortalHouse()
    browser = house.log_in("patient")

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CHAN Ka Yan, ZQ123456(7)")

    monkeypatch.setattr(GatewayClient, "search", fail)
    answer = browser.get("/record")

    assert answer.status_code == 500
    assert is_page_with_headers(answer)
    assert "CHAN" not in answer.text


@pytest.mark.parametrize(
    "identity", ["../../oauth/token", "a/b", "x?y", "x#y", "a\r\nX: y", "\0", "é", "..", "", " "]
)
def test_the_client_sends_no_id_that_is_none(identity: str) -> None:
    client = GatewayClient(PortalHouse().fake.client(), "token")

    async def ask() -> None:
        await client.read("Patient", identity)

    # On a thread of its own: the browser's tests leave a loop running on this one.
    with start_blocking_portal() as loop, pytest.raises(NotFound):
        loop.call(ask)
