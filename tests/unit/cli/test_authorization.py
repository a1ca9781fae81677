"""`ehr keys` and `ehr client` beside a running gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.main import app
from ehr_cli.settings import Settings
from ehr_gateway.app import create_gateway

runner = CliRunner()


@pytest.fixture
def running(tmp_path: Path) -> TestClient:
    """Return a gateway whose data folder the commands change."""
    settings = Settings(data=tmp_path / "data")
    prepare_data_folder(settings)
    return TestClient(create_gateway(gateway_settings(settings)))


def ehr(data: Path, *args: str) -> str:
    done = runner.invoke(app, [*args, "--data", str(data)])
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_a_program_is_invited_registers_is_listed_and_goes(
    running: TestClient, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    token = ehr(data, "client", "invite", "--scope", "patient/*.rs openid")
    answer = running.post(
        "/oauth/register",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "client_name": "Growth chart",
            "redirect_uris": ["https://app.example/callback"],
            "token_endpoint_auth_method": "none",
            "scope": "patient/*.rs",
        },
    )
    name = answer.json()["client_id"]
    assert name.isalnum()

    assert f"{name}\tGrowth chart\tnone\tpatient/*.rs" in ehr(data, "client", "list")
    ehr(data, "client", "delete", name)
    assert name not in ehr(data, "client", "list")
    assert runner.invoke(app, ["client", "delete", name, "--data", str(data)]).exit_code != 0


def test_new_keys_are_taken_up_by_a_gateway_that_runs(running: TestClient, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = ehr(data, "token", "--client", "reader", "--scope", "system/*.rs")
    headers = {"Authorization": f"Bearer {token}"}
    assert running.get("/fhir/Patient", headers=headers).status_code == 200

    name = ehr(data, "keys", "rotate")

    assert name in {key["kid"] for key in running.get("/oauth/jwks").json()["keys"]}
    assert running.get("/fhir/Patient", headers=headers).status_code == 200
    ehr(data, "keys", "rotate", "--at-once")
    assert running.get("/fhir/Patient", headers=headers).status_code == 401
