"""The pages: each module has a `router` with the routes of one place of the portal.

In: a request of one role. Out: a template filled in, or a redirect after a form was handled.
A page parses, asks the gateway, calls one pure function and renders. A module may have `NAVIGATION`
too: its links in the bar. Both are found by being in this folder; there is no other list.
May import everything but `app`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from fastapi import APIRouter
from fastapi.routing import APIRoute

from ehr_portal.web.navigation import Navigation

__all__ = ["load_navigation", "load_router"]


def load_router() -> APIRouter:
    """Return the routes of all pages; a fixed address goes before one with a parameter."""
    routes = [
        route
        for module in _page_modules()
        for route in module.router.routes
        if isinstance(route, APIRoute)
    ]
    # The first route that fits answers: /patients/{patient}/ask before /patients/{patient}/{key}.
    routes.sort(key=lambda route: [part.startswith("{") for part in route.path.split("/")])
    return APIRouter(routes=list(routes))


def load_navigation() -> Navigation:
    """Return the links of the bar of every role."""
    return Navigation(
        link for module in _page_modules() for link in getattr(module, "NAVIGATION", ())
    )


def _page_modules() -> list[ModuleType]:
    # What several pages share is in this folder too, and has no router.
    modules = (import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return [module for module in modules if hasattr(module, "router")]
