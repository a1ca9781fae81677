"""Encounters: where a patient lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["find_current_place"]


def find_current_place(encounter: Mapping[str, Any]) -> str:
    """Return the display of an encounter's newest location in use, empty without one.

    >>> find_current_place({"location": [{"status": "active", "location": {"display": "Bed 4"}}]})
    'Bed 4'
    """
    places = [
        str(place.get("location", {}).get("display", ""))
        for place in encounter.get("location", ())
        if place.get("status", "active") == "active"
    ]
    return places[-1] if places else ""
