"""Publishers' files are read by their forms; each file here is made up, with made-up codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_fhir.errors import EhrError
from ehr_fhir.terminology.concepts import Concept
from ehr_gateway.store.store import Store
from ehr_gateway.terminology.load import LoadedConcept, load_code_system
from ehr_gateway.terminology.stored_system import find_loaded_system
from ehr_inbound.terminology_files import FORMATS, Release, read_release

# Numbers by which RF2 says what a row is.
IS_A, FULL, SYNONYM, PREFERRED = (
    "116680003", "900000000000003001", "900000000000013009", "900000000000548007",
)  # fmt: skip
CLAML = """<?xml version="1.0"?><!DOCTYPE ClaML><ClaML version="2.0.0"><Title version="2099"/>
<Class code="I" kind="chapter"><SubClass code="Z01"/>
<Rubric kind="preferred"><Label>Moods</Label></Rubric></Class>
<Class code="Z01" kind="category"><SuperClass code="I"/>
<Rubric kind="preferred"><Label xml:lang="en">Good  mood</Label></Rubric>
<Rubric kind="inclusion"><Label>Cheer</Label></Rubric></Class></ClaML>
"""


def table(path: Path, *rows: str, separator: str = "\t") -> None:
    """Write rows whose cells have bars between them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row.replace("|", separator) + "\n" for row in rows), "utf-8")


def make_snomed(folder: Path) -> Path:
    terms = folder / "Snapshot/Terminology"
    table(
        terms / "sct2_Concept_Snapshot_X_20990101.txt",
        "id|effectiveTime|active|moduleId|definitionStatusId",
        "1|20980101|1|9|900000000000074008",
        "2|20990101|1|9|0",
        "3|20980101|0|9|900000000000074008",
    )
    table(
        terms / "sct2_Description_Snapshot-en_X_20990101.txt",
        "id|effectiveTime|active|moduleId|conceptId|languageCode|typeId|term|caseSignificanceId",
        f'11|20990101|1|9|2|en|{FULL}|"Big" mood (mood)|0',
        f"12|20990101|1|9|2|en|{SYNONYM}|Grand mood|0",
        f'13|20990101|1|9|2|en|{SYNONYM}|"Big" mood|0',
        f"14|20990101|0|9|2|en|{SYNONYM}|Old mood|0",
        f"15|20990101|1|9|1|en|{FULL}|Mood|0",
    )
    table(
        folder / "Snapshot/Refset/Language/der2_cRefset_LanguageSnapshot-en_X_20990101.txt",
        "id|effectiveTime|active|moduleId|refsetId|referencedComponentId|acceptabilityId",
        f"a|20990101|1|9|8|13|{PREFERRED}",
        "b|20990101|1|9|8|12|0",
    )
    table(
        terms / "sct2_Relationship_Snapshot_X_20990101.txt",
        "id|effectiveTime|active|moduleId|sourceId|destinationId|relationshipGroup|typeId"
        "|characteristicTypeId|modifierId",
        f"21|20990101|1|9|2|1|0|{IS_A}|0|0",
        f"22|20990101|0|9|1|2|0|{IS_A}|0|0",
        "23|20990101|1|9|2|3|1|77|0|0",
    )
    return folder


def make_loinc(folder: Path) -> Path:
    table(
        folder / "LoincTable/Loinc.csv",
        "LOINC_NUM|COMPONENT|SCALE_TYP|STATUS|VersionLastChanged|SHORTNAME|LONG_COMMON_NAME",
        '1-1|Mood|Qn|ACTIVE|2.9|Mood Qn|"Mood, grand"',
        "2-2|Mood|Ord|DEPRECATED|2.10|Mood Ord|Old mood",
        separator=",",
    )
    table(
        folder / "AccessoryFiles/ComponentHierarchyBySystem.csv",
        "PATH_TO_ROOT|SEQUENCE|IMMEDIATE_PARENT|CODE|CODE_TEXT",
        "|1||LP1|Moods",
        "LP1|2|LP1|1-1|Mood",
        separator=",",
    )
    table(
        folder / "AccessoryFiles/zhCN5LinguisticVariant.csv",
        "LOINC_NUM|LONG_COMMON_NAME",
        "1-1|心情",
        separator=",",
    )
    return folder


def make_rxnorm(folder: Path) -> Path:
    atom = "{}|ENG||||||||||{}|{}|X|{}||{}||"
    folder.mkdir()
    (folder / "RXNCONSO.RRF").write_text(
        "\n".join((
            atom.format("1", "RXNORM", "PSN", "Grumpol tablet", "N"),
            atom.format("1", "RXNORM", "SCD", "grumpol 5 MG Oral Tablet", "N"),
            atom.format("2", "RXNORM", "IN", "grumpol", "O"),
            atom.format("3", "OTHER", "IN", "not RxNorm's", "N"),
        )) + "\n", "utf-8",
    )  # fmt: skip
    (folder / "RXNREL.RRF").write_text("2||CUI||1||CUI|isa|||RXNORM|||||\n", "utf-8")
    return folder


def make_atc(folder: Path) -> Path:
    path = folder.with_suffix(".csv")
    path.write_text(
        "atc_code,atc_name,ddd\nX,Moods,\nX01,Good moods,\nX01AA01,cheer,5\nX01AA01,cheer,9\n"
    )
    return path


def make_icd10(folder: Path) -> Path:
    path = folder.with_suffix(".xml")
    path.write_text(CLAML, "utf-8")
    return path


def make_fhir(folder: Path) -> Path:
    path = folder.with_suffix(".json")
    concepts = [{"code": "a", "display": "A", "concept": [{"code": "b", "display": "Be"}]}]
    path.write_text(json.dumps({
        "resourceType": "CodeSystem", "url": "urn:made-up", "content": "complete",
        "caseSensitive": True, "concept": concepts,
    }))  # fmt: skip
    return path


MAKERS = {
    "snomed": make_snomed, "loinc": make_loinc, "rxnorm": make_rxnorm, "atc": make_atc,
    "icd10": make_icd10, "fhir": make_fhir,
}  # fmt: skip


def read(kind: str, folder: Path) -> tuple[Release, dict[str, LoadedConcept]]:
    release = read_release(kind, MAKERS[kind](folder / kind))
    return release, {str(one.detail["code"]): one for one in release.concepts}


@pytest.mark.parametrize(
    ("kind", "canonical", "code", "display", "parents", "others"),
    [
        ("snomed", "http://snomed.info/sct|http://snomed.info/sct/9/version/20990101", "2",
         '"Big" mood', ("1",), ["Grand mood", '"Big" mood (mood)']),
        ("loinc", "http://loinc.org|2.10", "1-1", "Mood, grand", ("LP1",), ["Mood Qn", "心情"]),
        ("rxnorm", "http://www.nlm.nih.gov/research/umls/rxnorm", "1", "grumpol 5 MG Oral Tablet",
         ("2",), ["Grumpol tablet"]),
        ("atc", "http://www.whocc.no/atc", "X01AA01", "cheer", ("X01",), []),
        ("icd10", "http://hl7.org/fhir/sid/icd-10|2099", "Z01", "Good mood", ("I",), ["Cheer"]),
        ("fhir", "urn:made-up", "b", "Be", ("a",), []),
    ],
)  # fmt: skip
def test_a_release_is_read(
    tmp_path: Path,
    kind: str,
    canonical: str,
    code: str,
    display: str,
    parents: tuple[str, ...],
    others: list[str],
) -> None:
    release, concepts = read(kind, tmp_path)
    concept = Concept("", code, concepts[code].detail)

    assert release.header.canonical == canonical
    assert (concept.display, concepts[code].parents) == (display, parents)
    assert [name for name in concept.names() if name != display] == others


@pytest.mark.parametrize(
    ("kind", "inactive", "abstract"),
    [
        ("snomed", {"3"}, set()),
        ("loinc", {"2-2"}, {"LP1"}),
        ("rxnorm", {"2"}, set()),
        ("icd10", set(), {"I"}),
    ],
)
def test_what_is_no_longer_used_or_groups_others_is_marked(
    tmp_path: Path, kind: str, inactive: set[str], abstract: set[str]
) -> None:
    _, loaded = read(kind, tmp_path)
    concepts = {code: Concept("", code, one.detail) for code, one in loaded.items()}

    assert {code for code, one in concepts.items() if one.is_inactive} == inactive
    assert {code for code, one in concepts.items() if one.is_abstract} == abstract


def test_a_relationship_of_snomed_ct_is_a_property(tmp_path: Path) -> None:
    _, concepts = read("snomed", tmp_path)

    assert {"code": "77", "valueCode": "3"} in concepts["2"].detail["property"]


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_file_of_another_form_is_refused_and_named(tmp_path: Path, kind: str) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_bytes(b"\xff\xfe nothing of the kind")

    with pytest.raises(EhrError, match=r"wrong\.txt"):
        list(read_release(kind, wrong).concepts)
    with pytest.raises(EhrError, match=r"none\.txt"):
        read_release(kind, tmp_path / "none.txt")


def test_an_xml_file_that_defines_entities_is_not_read(tmp_path: Path) -> None:
    hostile = tmp_path / "icd.xml"
    hostile.write_text('<!DOCTYPE x [<!ENTITY a "aaaa">]><ClaML>&a;</ClaML>')

    with pytest.raises(EhrError, match="entities"):
        read_release("icd10", hostile)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_a_release_is_loaded_into_the_tables(tmp_path: Path, kind: str) -> None:
    release = read_release(kind, MAKERS[kind](tmp_path / kind))
    store = Store(tmp_path / "store.db")
    try:
        loaded = load_code_system(store.database, release.header, release.concepts, now_ms=1)
        with store.read_transaction() as connection:
            found = find_loaded_system(connection, release.header.url)
            assert found is not None
            assert found.header == release.header
            assert loaded.concepts >= 2
    finally:
        store.close()


def test_the_command_loads_lists_and_removes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    runner, options = CliRunner(), ["--data", str(data)]
    file = str(make_fhir(tmp_path / "x"))

    loaded = runner.invoke(app, ["terminology", "load", "fhir", file, "--version", "7", *options])
    listed = runner.invoke(app, ["terminology", "list", *options])
    removed = runner.invoke(app, ["terminology", "remove", "urn:made-up", *options])

    assert "urn:made-up|7: 2 concepts" in loaded.output, loaded.output
    assert listed.output == "urn:made-up|7: 2 concepts\n"
    assert removed.output == "1 removed.\n"
    assert runner.invoke(app, ["terminology", "list", *options]).output == ""
