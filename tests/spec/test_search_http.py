"""Searches over HTTP: the form of the answer, addresses, links."""

from __future__ import annotations

from tests.lib.gateway import House


def test_a_search_serves_parts_of_resources_and_says_so(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    summary = hospital.get("Observation?_summary=true&_include=Observation:encounter").json()
    some = hospital.get("Observation?_elements=subject&_include=Observation:encounter").json()

    marked = [
        any(tag["code"] == "SUBSETTED" for tag in one["resource"]["meta"].get("tag", ()))
        for one in (*summary["entry"], *some["entry"])
    ]
    assert marked == [True] * 4 + [True] * 3 + [False]
    assert "effectiveDateTime" in summary["entry"][0]["resource"]
    assert "effectiveDateTime" not in some["entry"][0]["resource"]
