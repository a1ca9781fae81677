"""The approval page: asks the user to allow a client's scopes, and for which patient."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from fastapi.responses import Response

from ehr_gateway.accounts.accounts import Account
from ehr_gateway.accounts.represented_patients import RepresentedPatient
from ehr_gateway.html import pages
from ehr_gateway.settings import GatewaySettings
from ehr_privacy.consent import Scope, parse_scopes
from ehr_privacy.consent.scopes import Limit

__all__ = ["describe_scopes", "render_approval_page", "render_stale_page"]

_RIGHT_TEXTS = (("rs", "scope_read"), ("cu", "scope_write"), ("d", "scope_delete"))
_LOGIN_SCOPE_TEXTS = {
    "openid": "scope_identity", "fhirUser": "scope_identity",
    "offline_access": "scope_offline", "online_access": "scope_online",
}  # fmt: skip


def render_stale_page(language: str) -> Response:
    """Return the page that says that the approval page expired."""
    return pages.render_page("stopped.html", language, status=400, reason="stale")


def render_approval_page(
    language: str,
    sealed: str,
    parameters: Mapping[str, str],
    account: Account,
    scope: str,
    patients: Sequence[RepresentedPatient],
    settings: GatewaySettings,
) -> Response:
    """Return the approval page. `patients` are to choose from; empty if the patient is known."""
    return pages.render_page(
        "approve.html",
        language,
        form_target=parameters["redirect"],
        here="/oauth/approve",
        request_token=sealed,
        client=parameters["name"],
        person=account.display,
        wishes=describe_scopes(scope, language),
        patients=patients,
        term=_describe_lifetime(scope, language, settings),
    )


@cache
def _load_names(file_name: str) -> Mapping[str, Mapping[str, str]]:
    file = resources.files("ehr_gateway").joinpath("oauth", file_name)
    return tomllib.loads(file.read_text("utf-8"))


def describe_scopes(scope: str, language: str) -> list[str]:
    """Return the requested scopes as de-duplicated sentences."""

    def text(key: str, **parts: str) -> str:
        return pages.load_texts()[key][language].format(**parts)

    lines = []
    for word in scope.split():
        parsed = parse_scopes(word)[0]
        if not parsed.type:
            if parsed.context in _LOGIN_SCOPE_TEXTS:
                lines.append(text(_LOGIN_SCOPE_TEXTS[parsed.context]))
            continue
        resources = _describe_resources(parsed, language)
        lines += [
            text(key, what=resources)
            for letters, key in _RIGHT_TEXTS
            if any(letter in parsed.rights for letter in letters)
        ]
    return list(dict.fromkeys(lines))


def _describe_lifetime(scope: str, language: str, settings: GatewaySettings) -> str:
    """Return for how long the permission lasts at most, as a sentence."""
    words = scope.split()
    seconds = settings.token_seconds
    if "offline_access" in words:
        seconds = settings.refresh_seconds
    elif "online_access" in words:
        seconds = settings.online_seconds
    hours = -(-seconds // 3600)
    if hours > 48:
        return pages.load_texts()["approve_days"][language].format(number=-(-hours // 24))
    key = "approve_hour" if hours == 1 else "approve_hours"
    return pages.load_texts()[key][language].format(number=hours)


def _describe_resources(scope: Scope, language: str) -> str:
    if scope.type == "*":
        return pages.load_texts()["scope_everything"][language]
    name = _load_names("scope_types.toml").get(scope.type, {}).get(language, scope.type)
    limits = [_describe_limit(limit, language) for limit in scope.limits]
    return f"{name} ({'; '.join(limits)})" if limits else name


def _describe_limit(limit: Limit, language: str) -> str:
    """Return a limit in words where its codes have names, else as it is: most codes have none."""
    codes = [code for _, code in limit.values]
    names = _load_names("scope_values.toml")
    if limit.parameter == "category" and all(code in names for code in codes):
        return ", ".join(names[code][language] for code in codes)
    return f"{limit.parameter}: {', '.join(codes)}"
