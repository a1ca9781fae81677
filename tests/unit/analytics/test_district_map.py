"""The map of districts: each has a tile, names in three languages, and tells what is hidden."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from ehr_analytics.analyses.district_map import (
    LANGUAGES,
    draw_map,
    list_tiles,
    read_released_table,
    shade_of,
)
from ehr_analytics.study_cli import app
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_fhir.jurisdiction import load_jurisdiction

NAMES = tuple(dict.fromkeys(load_jurisdiction("hong-kong").districts.values()))
SHOWN = {name: None if name == "Islands" else 100.0 + 5 * n for n, name in enumerate(NAMES)}


def test_every_district_has_a_tile_of_its_own() -> None:
    assert set(list_tiles()) == set(NAMES) and len(NAMES) == 18
    places = list(list_tiles().values())
    # Hexagons of one width: no two are nearer than that.
    assert all(
        abs(x - a) >= 1 or (abs(x - a) == 0.5 and abs(y - b) == 1) or abs(y - b) >= 2
        for n, (x, y) in enumerate(places)
        for a, b in places[:n]
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_map_names_each_district_and_tells_what_is_hidden(language: str) -> None:
    root = ElementTree.fromstring(draw_map(SHOWN, "People", "opensafely-7-5", language))

    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    hatched = [e for e in root.iter() if e.get("fill") == "url(#hidden)"]
    island = {"en": "Islands", "zh-Hant": "離島區", "zh-Hans": "离岛区"}[language]
    assert island in texts and len(hatched) == 2  # the tile, and its key in the legend
    numbers = {text for text in texts if text.isdecimal()}
    assert numbers == {f"{value:.0f}" for value in SHOWN.values() if value is not None}


def test_a_released_table_becomes_a_map_beside_it(tmp_path: Path) -> None:
    table = tmp_path / "districts.csv"
    table.write_text(
        "district,measure,persons,proportion of proportion\n"
        "Wan Chai,people,30,[hidden]\nWan Chai,proportion with returned,[hidden],0.25\n"
        "not recorded,people,10,[hidden]\n",
        "utf-8",
    )

    answer = CliRunner().invoke(
        app, ["map", str(table), "--title", "按地區", "--language", "zh-Hant"]
    )

    assert answer.exit_code == 0, answer.output
    drawn = (tmp_path / "districts.zh-Hant.svg").read_text("utf-8")
    assert ">30<" in drawn and drawn.count("url(#hidden)") == 18
    assert read_released_table(table, "proportion with returned")["Wan Chai"] == 0.25
    with pytest.raises(Unprocessable):
        read_released_table(table, "nothing")
    with pytest.raises(NotFound):
        read_released_table(tmp_path / "none.csv")


def test_a_map_takes_no_markup_and_no_unknown_place_or_language() -> None:
    assert "<script" not in draw_map(SHOWN, "<script>x</script>", "<b>", "en")
    with pytest.raises(Unprocessable):
        draw_map(SHOWN, "People", "", "fr")
    with pytest.raises(Unprocessable):
        draw_map({"Atlantis": 1.0}, "People", "", "en")


def test_shades_go_from_light_to_dark() -> None:
    shades = [shade_of(value, 100) for value in (0, 20, 21, 60, 81, 100)]

    assert [shade.text for shade in shades] == ["#000000"] * 4 + ["#ffffff"] * 2
    assert len({shade.fill for shade in shades}) == 4
