"""`$import`: files into the store, refused line by line, stored once whatever interrupts it."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ehr_fhir.errors import Unprocessable
from ehr_gateway.bulk_data.import_files import FileWriter, ImportFolder
from ehr_gateway.bulk_data.import_request import ImportRequest
from ehr_gateway.bulk_data.imports import begin_import, keep_progress
from ehr_gateway.import_sources import parse_import_sources
from ehr_gateway.tokens.access_tokens import Subject
from ehr_gateway.tokens.suspensions import Suspension, insert_suspension
from ehr_inbound.bulk_files import store_batches
from ehr_inbound.bulk_imports import run
from ehr_inbound.bulk_imports.run import run_waiting_imports
from tests.lib.bulk import ASYNC, status_of
from tests.lib.gateway import House, Session, condition, encounter, must, patient
from tests.lib.store import rows

NAMES = ("Anna Secretname", "ZA1234560")


@dataclass
class Imports:
    """Carries imports out when told to, in this process."""

    house: House
    # What stands at each address.
    files: dict[str, bytes]
    is_started: bool = False

    def start(self) -> None:
        self.is_started = True

    def run(self) -> None:
        """Carry out what waits."""
        gateway = self.house.gateway
        run_waiting_imports(
            gateway.store, gateway.settings, self.house.clock, workers=1, fetch=self._fetch
        )

    def _fetch(self, url: str, writer: FileWriter) -> None:
        if url not in self.files:
            raise Unprocessable("The host answered 404.")
        writer.write(self.files[url])


@pytest.fixture
def made(furnished: House) -> Imports:
    """Return how to carry imports out in a small house."""
    made = Imports(furnished, {})
    sources = parse_import_sources("files.example.org")
    furnished.settings = replace(
        furnished.settings, import_sources=sources, max_import_bytes=2_000_000
    )
    furnished.gateway = replace(furnished.gateway, settings=furnished.settings, imports=made)
    furnished.app.state.gateway = furnished.gateway
    return made


def ndjson(*resources: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in resources)


def send(session: Session, *files: tuple[str, bytes]) -> Any:
    """Send files in the request."""
    parts = [(name, (f"{name}.ndjson", content)) for name, content in files]
    return session.request("POST", "$import", files=parts, headers=ASYNC)


def ask(session: Session, *inputs: tuple[str, str], **more: Any) -> Any:
    """Ask to fetch files, by the proposal's own JSON."""
    body = {
        "inputFormat": "application/fhir+ndjson",
        "input": [{"type": kind, "url": url} for kind, url in inputs],
        **more,
    }
    return session.post("$import", body, headers=ASYNC)


def errors_of(session: Session, result: dict[str, Any]) -> list[str]:
    return [
        json.loads(line)["issue"][0]["diagnostics"]
        for one in result["error"]
        for line in must(session.get(one["url"])).text.splitlines()
    ]


def test_files_that_are_sent_are_stored_as_ehr_load_does(
    made: Imports,
) -> None:
    platform = made.house.system("ehr-commons")
    visits = [encounter(f"new-{number}", "new") for number in range(3)]

    answer = send(
        platform, ("Encounter", gzip.compress(ndjson(*visits))),
        ("Patient", ndjson(patient("new", "ZC1234567"))),
    )  # fmt: skip
    address = status_of(answer)
    waiting = platform.get(address)
    made.run()
    result = must(platform.get(address)).json()

    assert (waiting.status_code, waiting.headers["x-progress"]) == (202, "waits for its turn")
    assert made.is_started
    assert [one["count"] for one in result["output"]] == [3, 1]
    assert result["error"] == []
    (visit,) = rows(made.house.gateway.store, "SELECT author FROM resource WHERE id = 'new-2'")
    assert visit == ("ehr-commons",)
    assert not list((made.house.settings.data / "imports").iterdir())


def test_a_refused_line_is_told_by_its_number_and_why_without_a_value(
    made: Imports,
) -> None:
    platform = made.house.system("ehr-commons")
    wrong = {**patient("new-2", NAMES[1]), "name": [{"text": NAMES[0]}], "gender": NAMES[0]}
    content = ndjson(patient("new-1", "ZC1234567"), wrong, encounter("e", "new-1"))
    content += b'{"resourceType":"Patient","name":"' + NAMES[0].encode() + b"\n"
    dangling = ndjson(condition("con-9", "nowhere", "new-1"))

    address = status_of(send(platform, ("Patient", content), ("Condition", dangling)))
    made.run()
    result = must(platform.get(address)).json()

    assert [one["count"] for one in result["output"]] == [1, 0]
    assert [one["count"] for one in result["error"]] == [3, 1]
    told = errors_of(platform, result)
    assert [one.split(":")[0] for one in told] == ["line 2", "line 3", "line 4", "line 1"]
    assert "said to hold Patient" in told[1]
    assert "dangling" in told[3]
    assert not any(name in text for text in told for name in (*NAMES, "new-2", "con-9"))


def test_files_are_fetched_from_hosts_of_the_settings_alone(
    made: Imports,
) -> None:
    platform = made.house.system("ehr-commons")
    url = "https://files.example.org/p.ndjson?sig=secret"
    made.files[url] = ndjson(patient("new", "ZC1234567"))

    for other in ("https://elsewhere.org/p", "https://files.example.org:444/p", "file:///etc/passwd",
                  "http://files.example.org/p", "https://me@files.example.org/p"):  # fmt: skip
        refused = ask(platform, ("Patient", url), ("Patient", other))
        assert refused.status_code == 400, other
        assert refused.json()["issue"][0]["expression"] == ["input[1].url"]
    source = "https://source.example.org/fhir"
    address = status_of(ask(platform, ("Patient", url), inputSource=source))
    made.run()
    result = must(platform.get(address)).json()

    assert result["output"][0]["inputUrl"] == "https://files.example.org/p.ndjson"
    stored = must(platform.get("Patient/new")).json()
    assert stored["meta"]["source"].endswith(f"#{source}")
    kept = rows(made.house.gateway.store, "SELECT request FROM bulk_import")
    assert ["secret" in request for (request,) in kept] == [False]


def test_parameters_ask_for_the_same(made: Imports) -> None:
    platform = made.house.system("ehr-commons")
    made.files["https://files.example.org/p"] = ndjson(patient("new", "ZC1234567"))
    parts = [
        {"name": "type", "valueCode": "Patient"},
        {"name": "url", "valueUrl": "https://files.example.org/p"},
    ]
    body = {"resourceType": "Parameters", "parameter": [{"name": "input", "part": parts}]}

    address = status_of(platform.post("$import", body, headers=ASYNC))
    made.run()

    assert must(platform.get(address)).json()["output"][0]["count"] == 1


def test_an_import_of_which_a_file_is_not_to_be_had_stores_nothing(
    made: Imports,
) -> None:
    platform = made.house.system("ehr-commons")
    made.files["https://files.example.org/p"] = ndjson(patient("new", "ZC1234567"))

    inputs = (
        ("Patient", "https://files.example.org/p"),
        ("Encounter", "https://files.example.org/e"),
    )
    address = status_of(ask(platform, *inputs))
    made.run()
    answer = platform.get(address)

    assert answer.status_code == 500
    assert answer.json()["issue"][0]["diagnostics"] == "input[1]: The host answered 404."
    assert platform.get("Patient/new").status_code == 404


def test_only_the_platforms_own_systems_import_by_scopes_for_every_type(
    made: Imports,
) -> None:
    content = ndjson(patient("new", "ZC1234567"))
    others = [made.house.system("hospital-a")]
    others += [
        made.house.login(name)
        for name in ("doctor.a", "steward", "admin", "auditor", "researcher", "p.pat-1")
    ]
    others += [
        made.house.system("ehr-commons", scope)
        for scope in ("system/*.rs", "system/Encounter.cruds", "system/Patient.c")
    ]

    for other in others:
        assert send(other, ("Patient", content)).status_code == 403
        assert ask(other, ("Patient", "https://files.example.org/p")).status_code == 403
    assert not rows(made.house.gateway.store, "SELECT id FROM bulk_import")
    assert not list((made.house.settings.data / "imports").glob("*"))
    address = status_of(send(made.house.system("ehr-commons"), ("Patient", content)))
    for other in others[:7]:
        assert other.get(address).status_code == 403
        assert other.delete(address).status_code == 403


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("Patient", gzip.compress(b" " * 3_000_000))], 413),
        ([("Patient", b" " * 1_500_000), ("Patient", b" " * 1_500_000)], 413),
        ([("Patient", gzip.compress(b"{}" * 500)[:-20])], 400),
        ([("Patient", b"\x1f\x8bno gzip")], 400),
        ([("Pasient", b"{}")], 400),
        ([("Patient", b"{}"), ("AuditEvent", b"{}")], 400),
    ],
)  # fmt: skip
def test_of_refused_files_nothing_is_left(
    made: Imports, files: list[tuple[str, bytes]], status: int
) -> None:

    answer = send(made.house.system("ehr-commons"), *files)

    assert answer.status_code == status, answer.text
    assert not rows(made.house.gateway.store, "SELECT id FROM bulk_import")
    assert not list((made.house.settings.data / "imports").glob("*"))


def test_what_goes_on_after_a_cut_stores_nothing_twice_and_takes_no_change_back(
    made: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = made.house.system("ehr-commons")
    monkeypatch.setattr(store_batches, "_ROWS_PER_TRANSACTION", 2)
    content = ndjson(*(patient(f"new-{number}", "ZC1234567") for number in range(5)))
    address = status_of(send(platform, ("Patient", content)))
    calls: list[Any] = []

    def break_off(*arguments: Any) -> None:
        calls.append(arguments)
        # Two patients are stored; the process ends before the next commit.
        if len(calls) == 2:
            raise KeyboardInterrupt
        keep_progress(*arguments)

    monkeypatch.setattr(run, "keep_progress", break_off)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert platform.get(address).headers["x-progress"] == "2 of at most 5 resources are stored"
    changed = {**must(platform.get("Patient/new-0")).json(), "gender": "other"}
    must(platform.put(changed))
    monkeypatch.setattr(run, "keep_progress", keep_progress)
    made.run()

    result = must(platform.get(address)).json()
    assert [*result["extension"].values()] == [{"stored": 5, "unchanged": 0}]
    versions = rows(
        made.house.gateway.store,
        "SELECT id, MAX(version) AS v FROM resource"
        " WHERE id LIKE 'new-%' GROUP BY id ORDER BY id",
    )  # fmt: skip
    assert [version for _, version in versions] == [2, 1, 1, 1, 1]
    assert must(platform.get("Patient/new-0")).json()["gender"] == "other"


def test_a_cancelled_import_stores_no_more_and_is_not_there(
    made: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = made.house.system("ehr-commons")
    monkeypatch.setattr(store_batches, "_ROWS_PER_TRANSACTION", 2)
    content = ndjson(*(patient(f"new-{number}", "ZC1234567") for number in range(5)))
    address = status_of(send(platform, ("Patient", content)))

    def cancel(connection: Any, *arguments: Any) -> None:
        keep_progress(connection, *arguments)
        connection.execute("DELETE FROM bulk_import")

    monkeypatch.setattr(run, "keep_progress", cancel)
    made.run()

    assert platform.get("Patient/new-1").status_code == 200
    assert platform.get("Patient/new-2").status_code == 404
    assert platform.get(address).status_code == 404
    assert not list((made.house.settings.data / "imports").iterdir())
    other = status_of(send(platform, ("Patient", content)))
    assert platform.delete(other).status_code == 202
    made.run()
    assert platform.get("Patient/new-4").status_code == 404


@pytest.mark.parametrize("end", ["suspended", "revoked"])
def test_nothing_more_is_stored_of_a_client_that_is_suspended_or_deleted(
    made: Imports, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    platform = made.house.system("ehr-commons")
    monkeypatch.setattr(store_batches, "_ROWS_PER_TRANSACTION", 2)
    content = ndjson(*(patient(f"new-{number}", "ZC1234567") for number in range(5)))
    address = status_of(send(platform, ("Patient", content)))
    now, name = made.house.clock(), "system-ehr-commons"
    suspension = Suspension("s", "client", name, "-", now, None, "steward", "St")

    def end_access(connection: Any, *arguments: Any) -> None:
        keep_progress(connection, *arguments)
        if end == "suspended":
            insert_suspension(connection, suspension)
        else:
            # As where a client is deleted, or a steward refuses it.
            made.house.gateway.revocations.revoke_in(connection, "client", name, now)

    monkeypatch.setattr(run, "keep_progress", end_access)
    made.run()

    store = made.house.gateway.store
    with store.read_transaction() as connection:
        row = connection.execute("SELECT state, fault FROM bulk_import").fetchone()
    assert row["state"] == "failed"
    assert end in row["fault"]
    assert platform.get(address).status_code == 500
    assert len(rows(store, "SELECT id FROM resource WHERE id LIKE 'new-%'")) == 2


def test_another_clients_import_is_not_there(made: Imports) -> None:
    platform = made.house.system("ehr-commons")
    content = ndjson(patient("new", "ZC1234567"))
    address = status_of(send(platform, ("Patient", content)))
    subject = Subject("other", "other", "system", "other", "ehr-commons")
    other = Session(made.house.client, made.house.issue(subject, "system/*.cruds"))

    assert other.get(address).status_code == other.delete(address).status_code == 404
    assert platform.get(address).status_code == 202


def test_files_that_a_killed_gateway_was_receiving_are_removed(made: Imports) -> None:
    gateway = made.house.gateway
    request = ImportRequest((), "ehr-commons")
    begun = begin_import(gateway.store, ["a", "b", "c", None], request, made.house.clock())
    folder = ImportFolder(gateway.settings.data, begun.id, 1000)
    folder.create()
    (folder.path / "Patient.0.ndjson.part").write_bytes(b"{}")

    made.run()
    assert folder.path.exists()
    made.house.clock.forward(seconds=2 * 3600)
    made.run()

    assert not folder.path.exists()
