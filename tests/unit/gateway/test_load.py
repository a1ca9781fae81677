"""`ehr load`: every resource accepted, or refused with a reason."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ehr_gateway.interactions.read import read
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files import files
from ehr_inbound.bulk_files.check_references import ReferenceCheck
from ehr_inbound.bulk_files.load import LoadReport, load
from ehr_inbound.bulk_files.prepare_worker import LoadCandidate
from ehr_inbound.bulk_files.scratch import open_scratch
from tests.lib.documents import own_documents, without_own_meta
from tests.lib.store import content, found, platform, put, rows


def observation(identity: str, subject: str = "Patient/p") -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": identity,
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": subject},
    }


PATIENT = {"resourceType": "Patient", "id": "p"}


def written(path: Path, *resources: dict[str, Any] | bytes) -> Path:
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in resources]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def reasons(report: LoadReport) -> dict[int, str]:
    return {one.line: one.reason for one in report.rejects}


def test_each_fault_has_its_line_and_the_rest_goes_on(store: Store, tmp_path: Path) -> None:
    file = written(
        tmp_path / "all.ndjson",
        observation("before"),
        b'{"resourceType": "Patient", ',
        {"resourceType": "Patiant", "id": "x"},
        {"resourceType": "Patient", "id": "y", "active": "yes"},
        observation("dangling", "Patient/none"),
        PATIENT,
        {**PATIENT, "gender": "male"},
        b'{"resourceType":"Patient","id":"n","extension":[{"url":"u","valueDecimal":NaN}]}',
        b"[]",
        b"",
        observation("badly", "nothing"),
        observation("after"),
    )

    report = load(store, [file])

    said = reasons(report)
    assert report.accepted == 3
    assert report.rejected == len(said) == 7
    assert "not JSON" in said[2]
    assert "resourceType" in said[3]
    assert said[4] == "Patient.active must be true or false."
    assert "dangling" in said[5]
    # The later version of the same resource is loaded.
    assert report.superseded == 1
    assert found(store, "Patient", "gender=male") == ["p"]
    assert "NaN" in said[8]
    assert "one JSON object" in said[9]
    assert "form Type/id" in said[11]
    assert found(store, "Patient", "") == ["p"]
    assert rows(store, "SELECT id FROM resource ORDER BY position") == [
        ("before",),
        ("p",),
        ("after",),
    ]


@pytest.mark.parametrize("identity", [5, None, ["p-1"]])
def test_an_id_that_is_no_text_is_refused_and_not_replaced(
    store: Store, tmp_path: Path, identity: Any
) -> None:
    person = {"resourceType": "Patient", "id": identity}

    report = load(store, [written(tmp_path / "people.ndjson", person)])

    assert report.accepted == 0
    assert "Patient.id" in reasons(report)[1]


def test_what_no_write_may_store_is_refused_in_a_load_too(store: Store, tmp_path: Path) -> None:
    cut = {"tag": [{"system": "http://example.org", "code": "SUBSETTED"}]}
    channel = {"type": "message"}
    file = written(
        tmp_path / "all.ndjson",
        {**PATIENT, "meta": cut},
        {"resourceType": "Subscription", "id": "s", "status": "active", "reason": "x",
         "criteria": "Patient?", "channel": channel},
        {"resourceType": "AuditEvent", "id": "a", "type": {"code": "rest"},
         "recorded": "2026-01-01T00:00:00Z", "agent": [{"requestor": True}],
         "source": {"observer": {"display": "x"}}},
        {"resourceType": "Patient", "id": "q", "name": [{"given": [None]}]},
        observation("o", "Practitioner/x"),
        {"resourceType": "Patient", "id": "r", "implicitRules": "http://example.org/rules"},
    )  # fmt: skip

    report = load(store, [file])

    assert report.accepted == 0
    said = reasons(report)
    assert "Patient.meta.tag[0]" in said[1]
    assert "own address" in said[2]
    assert "server alone" in said[3]
    assert said[4] == "Patient.name[0].given[0] must not be empty."
    assert said[5].startswith("Observation.subject.reference names a Practitioner")
    assert "modifier" in said[6]


def test_an_entry_names_others_of_a_type_that_its_element_allows(
    store: Store, tmp_path: Path
) -> None:
    entries = [
        {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Organization", "name": "x"}},
        {"fullUrl": "urn:uuid:2", "resource": observation("o", "urn:uuid:1")},
        {"fullUrl": "urn:uuid:3", "resource": {**observation("p", "urn:uuid:1"),
                                               "subject": {"reference": "urn:uuid:4"}}},
        {"fullUrl": "urn:uuid:4", "resource": PATIENT},
    ]  # fmt: skip
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    file = written(tmp_path / "bundle.json", bundle)

    report = load(store, [file])

    assert report.accepted == 3
    assert reasons(report) == {
        2: "Observation.subject.reference names a Organization, but may name: "
        "Device, Group, Location, Patient."
    }


def test_what_refers_to_a_refused_resource_is_refused_too(store: Store, tmp_path: Path) -> None:
    chain = {
        "resourceType": "Basic",
        "id": "b",
        "code": {"text": "x"},
        "subject": {"reference": "Observation/o"},
    }
    file = written(tmp_path / "a.ndjson", chain, observation("o"), {**PATIENT, "active": 1})

    report = load(store, [file])

    assert report.accepted == 0
    assert sorted(reasons(report)) == [1, 2, 3]
    assert rows(store, "SELECT * FROM resource") == []


def test_references_point_across_files(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    written(folder / "Aaa.ndjson", observation("o"))
    written(folder / "Patient.ndjson", PATIENT)

    report = load(store, [folder])

    assert (report.accepted, report.rejected) == (2, 0)
    # What others refer to goes in first.
    assert rows(store, "SELECT id FROM resource ORDER BY position") == [("p",), ("o",)]


def test_references_point_into_the_store(store: Store, tmp_path: Path) -> None:
    put(store, PATIENT)

    assert load(store, [written(tmp_path / "a.ndjson", observation("o"))]).accepted == 1


def test_a_reference_by_search_means_the_set_or_the_store(store: Store, tmp_path: Path) -> None:
    put(
        store,
        {
            "resourceType": "Organization",
            "id": "stored",
            "identifier": [{"system": "s", "value": "1"}],
        },
    )
    inside = {
        "resourceType": "Organization",
        "id": "inside",
        "identifier": [{"system": "s", "value": "2"}],
    }
    patients = [
        {
            "resourceType": "Patient",
            "id": f"p{value}",
            "managingOrganization": {"reference": f"Organization?identifier=s|{value}"},
        }
        for value in (1, 2, 3)
    ]

    report = load(store, [written(tmp_path / "a.ndjson", *patients, inside)])

    assert reasons(report) == {
        3: "Patient.managingOrganization.reference is a search that finds nothing,"
        " or more than one."
    }
    for identity, target in (("p1", "stored"), ("p2", "inside")):
        patient = content(read(store, platform(), "Patient", identity))
        assert patient["managingOrganization"]["reference"] == f"Organization/{target}"


def test_a_bundle_is_taken_apart(store: Store, tmp_path: Path) -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": "urn:uuid:2", "resource": observation("o", "urn:uuid:1")},
            {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient"}},
            {"fullUrl": "urn:uuid:3"},
            {"fullUrl": "urn:uuid:4", "resource": observation("u", "urn:uuid:9")},
        ],
    }
    file = tmp_path / "b.json.gz"
    file.write_bytes(gzip.compress(json.dumps(bundle).encode()))

    report = load(store, [file])

    assert report.accepted == 2
    assert sorted(reasons(report)) == [3, 4]
    assert (
        content(read(store, platform(), "Observation", "o"))["subject"]["reference"] == "Patient/1"
    )


def test_only_links_lead_to_the_entries_of_a_bundle(store: Store, tmp_path: Path) -> None:
    name, elsewhere = "urn:uuid:00000000-0000-4000-8000-000000000001", "http://e/fhir"
    document = {
        "resourceType": "DocumentReference", "id": "d", "status": "current",
        "masterIdentifier": {"system": "urn:ietf:rfc:3986", "value": name},
        "description": name, "subject": {"reference": name},
        "author": [{"reference": f"{elsewhere}/Organization/o/_history/2"}],
        "content": [{"attachment": {"contentType": "text/plain", "url": name, "title": name}}],
        "extension": [{"url": "http://e/c", "valueCanonical": name}],
    }  # fmt: skip
    organization = {"resourceType": "Organization", "id": "o", "name": "O"}
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"fullUrl": name, "resource": {"resourceType": "Patient", "id": "p"}},
            {"fullUrl": f"{elsewhere}/Organization/o", "resource": organization},
            {"fullUrl": f"{elsewhere}/DocumentReference/d", "resource": document},
        ],
    }
    file = tmp_path / "b.json"
    file.write_text(json.dumps(bundle))

    assert load(store, [file]).accepted == 3

    stored = content(read(store, platform(), "DocumentReference", "d"))
    assert stored["subject"]["reference"] == "Patient/p"
    assert stored["author"][0]["reference"] == "Organization/o"
    assert stored["content"][0]["attachment"]["url"] == "Patient/p"
    kept = ("masterIdentifier", "description", "extension")
    assert {key: stored[key] for key in kept} == {key: document[key] for key in kept}
    assert stored["content"][0]["attachment"]["title"] == name


def test_documents_are_loaded_as_they_are(store: Store, tmp_path: Path) -> None:
    documents = own_documents()
    names = ["addresses, relative references", "urns", "signed", "message"]
    folder = tmp_path / "documents"
    folder.mkdir()
    for number, name in enumerate(names):
        document = {**documents[name], "id": f"d{number}"}
        (folder / f"{number}.json").write_text(json.dumps(document))
    lines = [
        json.dumps({**documents[name], "id": f"l-{name}"}) for name in ("history", "searchset")
    ]
    (folder / "lines.ndjson").write_text("\n".join(lines))

    assert load(store, [folder]).rejects == ()

    for number, name in enumerate(names):
        stored = content(read(store, platform(), "Bundle", f"d{number}"))
        assert without_own_meta(stored) == without_own_meta(documents[name])
    for name in ("history", "searchset"):
        stored = content(read(store, platform(), "Bundle", f"l-{name}"))
        assert without_own_meta(stored) == without_own_meta(documents[name])


def test_a_conditional_create_of_what_exists_adds_nothing(store: Store, tmp_path: Path) -> None:
    identifier = [{"system": "s", "value": "1"}]
    put(store, {"resourceType": "Organization", "id": "mine", "identifier": identifier})
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [
            {
                "fullUrl": "urn:uuid:1",
                "resource": {"resourceType": "Organization", "identifier": identifier},
                "request": {
                    "method": "POST",
                    "url": "Organization",
                    "ifNoneExist": "identifier=s|1",
                },
            },
            {
                "resource": {
                    "resourceType": "Patient",
                    "id": "p",
                    "managingOrganization": {"reference": "urn:uuid:1"},
                }
            },
        ],
    }
    file = tmp_path / "b.json"
    file.write_text(json.dumps(bundle))

    report = load(store, [file])

    assert (report.accepted, report.unchanged) == (2, 1)
    assert found(store, "Organization", "") == ["mine"]
    assert found(store, "Patient", "organization=mine") == ["p"]


def test_a_document_is_one_resource(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    file.write_text('{"resourceType":"Bundle","id":"d","type":"document"}')

    assert load(store, [file]).accepted == 1
    assert rows(store, "SELECT type, id FROM resource") == [("Bundle", "d")]


def test_loading_again_changes_nothing_and_a_change_is_a_version(
    store: Store, tmp_path: Path
) -> None:
    file = written(tmp_path / "a.ndjson", PATIENT, observation("o"))
    load(store, [file])
    before = rows(store, "SELECT * FROM resource ORDER BY position")

    again = load(store, [file])
    changed = load(store, [written(tmp_path / "a.ndjson", {**PATIENT, "gender": "male"})])

    assert (again.accepted, again.unchanged) == (2, 2)
    assert rows(store, "SELECT * FROM resource ORDER BY position")[1:2] == before[1:]
    assert (changed.accepted, changed.unchanged) == (1, 0)
    assert read(store, platform(), "Patient", "p").version == 2
    assert found(store, "Patient", "gender=male") == ["p"]


def test_the_author_is_the_source_or_the_one_named(store: Store, tmp_path: Path) -> None:
    source = {"meta": {"source": "https://ehr-commons.hk/organization/ha-harbour"}}
    load(store, [written(tmp_path / "a.ndjson", PATIENT, observation("o") | source)], "kwun-fong")

    authors = rows(store, "SELECT id, author FROM resource ORDER BY position")
    assert authors == [("p", "kwun-fong"), ("o", "ha-harbour")]


def test_a_line_of_100_megabytes_is_passed_over(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson.gz"
    with gzip.open(file, "wb", 1) as stream:
        stream.write(b'{"resourceType":"Patient","id":"big","x":"')
        for _ in range(100):
            stream.write(b"x" * 1024 * 1024)
        stream.write(b'"}\n' + json.dumps(PATIENT).encode())

    report = load(store, [file])

    assert report.accepted == 1
    assert reasons(report) == {1: "The line is longer than 16 MiB."}


def test_files_that_are_none_are_named(store: Store, tmp_path: Path) -> None:
    written(tmp_path / "notes.txt", b"x")
    written(tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress(b"{}\n" * 9)[:-9])
    written(tmp_path / "plain.ndjson.gz", b"x")
    written(tmp_path / "ok.ndjson", PATIENT)

    report = load(store, [tmp_path, tmp_path / "absent.ndjson"], workers=1)

    said = {(Path(one.file).name, one.line): one.reason for one in report.rejects}
    assert report.accepted == 1
    assert "must end in" in said["notes.txt", 0]
    assert "damaged" in said["cut.ndjson.gz", 0]
    assert "damaged" in said["plain.ndjson.gz", 0]
    assert "cannot be read" in said["absent.ndjson", 0]


def test_a_file_too_large_for_one_text_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_JSON_FILE_BYTES", 10)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(PATIENT))

    assert "larger than" in load(store, [file]).rejects[0].reason


def test_consents_are_in_force_once_loaded(store: Store, tmp_path: Path) -> None:
    from tests.lib.store import consent

    load(store, [written(tmp_path / "a.ndjson", PATIENT, {**consent("p", "joining"), "id": "j"})])

    assert rows(store, "SELECT consent, patient FROM consent_joining") == [("j", "p")]


def test_progress_is_told(store: Store, tmp_path: Path) -> None:
    told: list[int] = []

    load(store, [written(tmp_path / "a.ndjson", PATIENT)], "o", told.append)

    assert told == [1]


def test_what_is_remembered_of_each_resource_stays_out_of_memory(tmp_path: Path) -> None:
    def unit(number: int) -> list[LoadCandidate]:
        ids = [f"{number}-{line}" for line in range(250)]
        return [
            LoadCandidate(line, "Condition", one, frozenset({("Patient", one)}), b"digest")
            for line, one in enumerate(ids)
        ]

    with open_scratch(tmp_path) as notes:
        whole = ReferenceCheck(notes)
        tracemalloc.start()
        for number in range(40):
            whole.add("records.ndjson", tmp_path / f"{number}.spool", unit(number))
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert whole.accepted == 10_000
    assert kept < 10 * 10_000


def test_processes_give_the_same_tables_as_one(tmp_path: Path) -> None:
    resources = [PATIENT, *(observation(f"o{number}") for number in range(900))]
    file = written(tmp_path / "a.ndjson", *resources, b"{")
    tables = []
    for workers in (1, 2):
        opened = Store(tmp_path / f"{workers}.db")
        report = load(opened, [file], workers=workers, clock=lambda: 1)
        tables.append([report.accepted, report.rejects, rows(opened, "SELECT * FROM resource")])
        opened.close()

    assert tables[0] == tables[1]
    assert tables[0][0] == 901


def bundle(*resources: dict[str, Any]) -> bytes:
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources
    ]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


@pytest.mark.parametrize("form", ["ndjson", "ndjson.gz", "json", "json.gz"])
def test_a_repeated_resource_is_unchanged_and_a_later_version_wins(
    store: Store, tmp_path: Path, form: str
) -> None:
    later = {**PATIENT, "gender": "male"}
    for number, some in enumerate(([PATIENT, PATIENT, observation("o")], [PATIENT, later])):
        text = (
            b"".join(json.dumps(one).encode() + b"\n" for one in some)
            if form.startswith("ndjson")
            else bundle(*some)
        )
        packed = gzip.compress(text) if form.endswith("gz") else text
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.{form}").write_bytes(packed)

    report = load(store, [tmp_path / "in"])

    assert report.rejects == ()
    assert (report.accepted, report.unchanged, report.superseded) == (4, 2, 1)
    assert found(store, "Patient", "gender=male") == ["p"]
    assert found(store, "Observation", "") == ["o"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"lastUpdated": "2026-02-01T00:00:00Z"}, {"lastUpdated": "2026-01-01T00:00:00Z"}),
        ({"versionId": "10"}, {"versionId": "9"}),
    ],
)
def test_the_version_that_was_later_at_its_source_wins(
    store: Store, tmp_path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    newer, older = ({**PATIENT, "meta": meta, "gender": gender}
                    for meta, gender in ((first, "male"), (second, "female")))  # fmt: skip

    report = load(store, [written(tmp_path / "a.ndjson", newer, older)])

    assert (report.accepted, report.superseded, report.rejects) == (1, 1, ())
    assert found(store, "Patient", "gender=male") == ["p"]


def test_what_repeats_a_refused_resource_is_refused(store: Store, tmp_path: Path) -> None:
    dangling = observation("o", "Patient/none")

    report = load(store, [written(tmp_path / "a.ndjson", dangling, dangling)])

    assert (report.accepted, report.rejected) == (0, 2)


BASES = ("http://here.example/fhir", "https://was.example:8443/r4")


@pytest.mark.parametrize("as_bundle", [False, True])
@pytest.mark.parametrize(
    "base",
    ["http://here.example/fhir", "https://HERE.example:443/fhir", "https://was.example:8443/r4"],
)
def test_references_to_this_server_become_relative(
    store: Store, tmp_path: Path, base: str, as_bundle: bool
) -> None:
    named = {
        **observation("named", f"{base}/Patient/p"),
        "hasMember": [{"reference": f"{base}/Observation/other/_history/2"}],
        "performer": [{"reference": f"{base}/Practitioner?identifier=urn:x|7"}],
        "focus": [{"reference": "http://elsewhere.example/fhir/Patient/p"}],
        "note": [{"text": f"see {base}/Patient/p"}],
    }
    everything = [
        named,
        observation("other"),
        PATIENT,
        {
            "resourceType": "Practitioner",
            "id": "yu",
            "identifier": [{"system": "urn:x", "value": "7"}],
        },
    ]
    if as_bundle:
        file = tmp_path / "all.json"
        entries = [
            {"fullUrl": f"{base}/{body['resourceType']}/{body['id']}", "resource": body}
            for body in everything
        ]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        file.write_text(json.dumps(bundle))
    else:
        file = written(tmp_path / "all.ndjson", *everything)

    report = load(store, [file], bases=BASES)

    assert (report.accepted, report.rejected) == (4, 0), reasons(report)
    stored = content(read(store, platform(), "Observation", "named"))
    assert stored["subject"]["reference"] == "Patient/p"
    # Of an entry of the same Bundle nobody knows which version it becomes.
    version = "" if as_bundle else "/_history/2"
    assert stored["hasMember"][0]["reference"] == f"Observation/other{version}"
    assert stored["performer"][0]["reference"] == "Practitioner/yu"
    assert stored["focus"] == named["focus"]
    assert stored["note"] == named["note"]
    assert found(store, "Observation", "patient=p") == ["named", "other"]
    assert load(store, [file], bases=BASES).unchanged == 4


def test_a_loaded_document_keeps_its_addresses_and_says_whose_it_is(
    store: Store, tmp_path: Path
) -> None:
    base = BASES[0]
    patient = {"fullUrl": f"{base}/Patient/p", "resource": {"resourceType": "Patient", "id": "p"}}
    composition = {
        "resourceType": "Composition",
        "id": "c",
        "status": "final",
        "type": {"text": "x"},
        "date": "2026",
        "title": "x",
        "author": [{"display": "x"}],
        "subject": {"reference": f"{base}/Patient/p"},
    }
    entry = [{"fullUrl": f"{base}/Composition/c", "resource": composition}, patient]
    document = {"resourceType": "Bundle", "id": "d", "type": "document", "entry": entry}
    file = written(tmp_path / "all.ndjson", PATIENT, document)

    assert load(store, [file], bases=BASES).rejected == 0

    stored = content(read(store, platform(), "Bundle", "d"))
    assert stored["entry"] == entry
    assert rows(store, "SELECT patient FROM record_patient p JOIN resource r ON r.pk = p.pk"
                " WHERE r.type = 'Bundle'") == [("p",)]  # fmt: skip


def test_without_an_address_references_stay(store: Store, tmp_path: Path) -> None:
    subject = {"reference": f"{BASES[0]}/Patient/p"}
    file = written(tmp_path / "all.ndjson", {**observation("o"), "subject": subject})

    assert load(store, [file]).rejected == 0
    assert content(read(store, platform(), "Observation", "o"))["subject"] == subject
