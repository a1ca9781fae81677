"""The files of the SMART app that comes along: static pages, with a policy of their own.

The app is a client like any other: it holds no session of the portal and asks the gateway alone,
with the token that the person allowed it. Its page runs its own scripts, and may fetch from the
FHIR service, the token address and its own folder, from nowhere else and without cookies.
"""

from __future__ import annotations

from pathlib import Path

from fastapi.responses import Response
from starlette.types import Scope

from ehr_portal.web.static_files import CompressedStaticFiles

__all__ = ["SMART_APPS_PATH", "SmartAppFiles"]

SMART_APPS_PATH = "/smart-apps"
FOLDER = Path(__file__).parents[1] / "smart_apps"
_FOLDER_NAMES = {"growth-chart": "growth_chart"}
_HEADERS = {"Cross-Origin-Opener-Policy": "same-origin", "Referrer-Policy": "no-referrer"}


class SmartAppFiles(CompressedStaticFiles):
    """The files of one app at a path of its own."""

    def __init__(self, name: str, base_url: str) -> None:
        super().__init__(directory=str(FOLDER / _FOLDER_NAMES[name]))
        own = f"{base_url}{SMART_APPS_PATH}/{name}/"
        self._policy = (
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            f"script-src {own}; style-src {own}; "
            f"connect-src {own} {base_url}/fhir/ {base_url}/oauth/token "
            f"{base_url}/oauth/smart-style.json"
        )

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, with the policy of the app's pages."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = self._policy
        for name, value in _HEADERS.items():
            response.headers[name] = value
        return response
