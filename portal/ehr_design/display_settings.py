"""Display settings: theme and text size that a reader chose, kept in cookies.

The portal and the gateway's log-in pages read the same cookies. Where the two have origins of their
own, the portal passes the settings in its authorize request, beside OpenID Connect's `ui_locales`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

__all__ = ["DISPLAY_PARAMETERS", "LANGUAGE", "DisplaySettings", "cookie_name", "set_choice_cookie"]

THEMES = ("system", "light", "dark", "contrast")
TEXT_SIZES = ("normal", "large", "larger")
# The cookies' names. The parameters of an authorize request have a prefix, as is good manners for
# parameters that no standard registers (RFC 6749 §8.2).
LANGUAGE = "language"
THEME = "theme"
TEXT_SIZE = "text-size"
DISPLAY_PARAMETERS = {THEME: "ehr_theme", TEXT_SIZE: "ehr_text_size"}
ONE_YEAR_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True)
class DisplaySettings:
    """How pages look for one reader; any value that is not known counts as the first."""

    # "system" is what the device says of dark mode and contrast.
    theme: str = THEMES[0]
    text_size: str = TEXT_SIZES[0]

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> DisplaySettings:
        """Return the settings of a form's or a query's values.

        >>> DisplaySettings.parse({"theme": "dark", "text-size": "enormous"})
        DisplaySettings(theme='dark', text_size='normal')
        """
        theme, text_size = values.get(THEME, ""), values.get(TEXT_SIZE, "")
        return cls(
            theme if theme in THEMES else THEMES[0],
            text_size if text_size in TEXT_SIZES else TEXT_SIZES[0],
        )

    @classmethod
    def from_cookies(cls, cookies: Mapping[str, str]) -> DisplaySettings:
        """Return the settings of a browser's cookies."""
        return cls.parse({name: read_choice(cookies, name) for name in (THEME, TEXT_SIZE)})

    @classmethod
    def has_choice(cls, cookies: Mapping[str, str]) -> bool:
        """Return whether a browser's reader chose anything."""
        return any(read_choice(cookies, name) for name in (THEME, TEXT_SIZE))

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> DisplaySettings:
        """Return the settings that an authorize request passes along.

        >>> DisplaySettings.from_parameters({"ehr_theme": "contrast"})
        DisplaySettings(theme='contrast', text_size='normal')
        """
        return cls.parse({name: parameters.get(key, "") for name, key in _PARAMETERS})

    def to_parameters(self) -> dict[str, str]:
        """Return the parameters of an authorize request, none for what is the default.

        >>> DisplaySettings(text_size="large").to_parameters()
        {'ehr_text_size': 'large'}
        """
        chosen = self.to_choices()
        default = DisplaySettings().to_choices()
        return {key: chosen[name] for name, key in _PARAMETERS if chosen[name] != default[name]}

    def to_choices(self) -> dict[str, str]:
        """Return the values by the names of their cookies."""
        return {THEME: self.theme, TEXT_SIZE: self.text_size}


_PARAMETERS = tuple(DISPLAY_PARAMETERS.items())


def cookie_name(name: str, *, secure: bool) -> str:
    """Return a cookie's name; behind HTTPS the prefix binds it to the host (RFC 6265bis §4.1.3)."""
    return f"__Host-{name}" if secure else name


def read_choice(cookies: Mapping[str, str], name: str) -> str:
    """Return what a reader chose; empty if they chose nothing.

    A page need not know whether browsers reach it by HTTPS: the prefixed name comes first, and a
    value that somebody planted can only be another of the known ones.
    """
    return cookies.get(cookie_name(name, secure=True)) or cookies.get(name, "")


def set_choice_cookie(response: Response, name: str, value: str, *, secure: bool) -> None:
    """Keep a choice in the browser for a year."""
    response.set_cookie(
        cookie_name(name, secure=secure),
        value,
        max_age=ONE_YEAR_SECONDS,
        path="/",
        httponly=True,
        samesite="lax",
        secure=secure,
    )
