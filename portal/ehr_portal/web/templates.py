"""The Jinja templates in one language: gettext, and filters for dates and numbers."""

from __future__ import annotations

from functools import cache
from urllib.parse import quote

import jinja2

from ehr_design.jinja_macros import add_design
from ehr_portal.i18n import localizer_for
from ehr_portal.record.display import split_scripts


@cache
def template_environment(tag: str) -> jinja2.Environment:
    """Return the templates in a language, loaded once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ehr_portal"),
        # Every value is text of somebody else until a macro says otherwise.
        autoescape=True,
        # A misspelt name fails the page's test instead of printing nothing.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        # The files of an installation do not change under it: no look at each for each page.
        auto_reload=False,
    )
    add_design(environment, "/static")
    localizer = localizer_for(tag)
    # The i18n extension adds this method; the stubs of jinja2 do not know it.
    environment.install_gettext_translations(  # type: ignore[attr-defined]
        localizer.translations, newstyle=True
    )
    environment.filters.update(
        day=localizer.format_day,
        instant=localizer.format_instant,
        short_instant=localizer.format_short_instant,
        clock=localizer.format_time,
        number=localizer.format_number,
        percent=localizer.format_percent,
        split_scripts=lambda text: split_scripts(text).parts,
        # Unlike Jinja's own urlencode, a slash is escaped too.
        url_component=lambda value: quote(value, safe=""),
    )
    return environment
