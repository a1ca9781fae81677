"""The facts of a place come from its file; a wrong file is an error that names the fact."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_fhir.errors import Invalid
from ehr_fhir.jurisdiction import load_jurisdiction

RURITANIA = Path("tests/data/jurisdictions/ruritania.toml")


def test_a_second_jurisdiction_is_a_file() -> None:
    place = load_jurisdiction(str(RURITANIA))

    assert place.zone.key == "Europe/Prague"
    assert place.fhir_base == "https://records.ruritania.example/fhir"
    assert place.regions["Zenda"] == "Highlands"
    assert place.person_identifier.is_valid("943 476 5919")
    assert not place.person_identifier.is_valid("943 476 5918")


@pytest.mark.parametrize(
    ("removed", "inserted", "named"),
    [
        ('time_zone = "Europe/Prague"', 'time_zone = "Europe/Strelsau"', "Strelsau"),
        ('country = "ZZ"', "", "country"),
        ("weights = [10, 9, 8, 7, 6, 5, 4, 3, 2]", "", "weights"),
        ("[law]", "[law", "no TOML file"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_fact(
    removed: str, inserted: str, named: str, tmp_path: Path
) -> None:
    text = RURITANIA.read_text("utf-8")
    assert removed in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(removed, inserted), "utf-8")

    with pytest.raises(Invalid, match=named):
        load_jurisdiction(str(path))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(Invalid, match="there is no jurisdiction atlantis"):
        load_jurisdiction("atlantis")
