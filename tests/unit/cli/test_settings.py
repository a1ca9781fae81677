"""Settings: read from one file and one family of variables; a wrong one is an error."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from ehr_cli.settings import FILE, Settings, load_settings, to_environment
from ehr_fhir.errors import Invalid

REFERENCE = Path(__file__).parents[3] / "docs/reference/settings.md"


def test_without_file_or_variables_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}) == Settings()


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('port = 9000\nhost = "0.0.0.0"\n')

    settings = load_settings(tmp_path, {"EHR_PORT": "9100", "PATH": "/bin"})

    assert (settings.port, settings.host) == (9100, "0.0.0.0")


def test_an_option_wins_over_both(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"EHR_PORT": "9100"}).override(port=9200, host=None)

    assert (settings.port, settings.host) == (9200, "127.0.0.1")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("prot = 9000", "Did you mean port?"),
        ("nonsense = 1", "The settings are data, host"),
        ('port = "many"', "port must be a whole number"),
        ("port = 70000", "port must be from 1 to 65535"),
        ("workers = 0", "workers must be from 1 to 64"),
        ('debug = "perhaps"', "debug must be true or false"),
        ("port = ", "not valid TOML"),
        ('public_url = "ehr.example"', "public_url must be an http or https address"),
        ('database = "mysql://db"', "database must be sqlite, for a file"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, written: str, says: str
) -> None:
    (tmp_path / FILE).write_text(written)

    with pytest.raises(Invalid, match=says.replace("?", r"\?")):
        load_settings(tmp_path, {})


def test_an_unknown_variable_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"no setting EHR_WORKER .*Did you mean workers"):
        load_settings(tmp_path, {"EHR_WORKER": "2"})


def test_worker_processes_read_the_same_settings(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, port=9000, debug=True)

    assert load_settings(tmp_path, to_environment(settings)) == settings


def test_every_setting_is_documented() -> None:
    text = REFERENCE.read_text("utf-8")

    rows = [line for line in text.splitlines() if line.startswith("| `")]
    documented = {row.split("`")[1]: row for row in rows}
    assert documented.keys() == {field.name for field in fields(Settings)}
    for field in fields(Settings):
        assert f"`{field.default}`" in documented[field.name] or field.default == ""
        assert f"EHR_{field.name.upper()}" in documented[field.name]
