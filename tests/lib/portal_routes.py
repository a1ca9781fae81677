"""Routes of the portal's pages, and values for the variables of their paths."""

from __future__ import annotations

from typing import Any

from ehr_portal.pages import load_router


class Values(dict[str, str]):
    """Values of a path's variables; an id for those of pages that are added later."""

    def __missing__(self, name: str) -> str:
        return "a-1"


VARIABLES = Values(
    patient="pat-1", resource_type="Condition", resource_id="con-1", key="results",
    organization="st-b", tag="en",
)  # fmt: skip


def routes() -> list[tuple[str, str]]:
    """Return the method and path of every page of the portal."""
    found: list[tuple[str, str]] = []
    for path, methods in _paths(load_router()):
        found += [(method, path) for method in sorted(methods) if method in ("GET", "POST")]
    return sorted(set(found))


def _paths(router: Any) -> list[tuple[str, set[str]]]:
    found = []
    for route in router.routes:
        if hasattr(route, "path"):
            found.append((route.path, set(route.methods or ())))
        else:
            found += _paths(route.original_router)
    return found
