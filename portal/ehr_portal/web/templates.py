"""The Jinja templates in one language: gettext, and filters for dates and numbers.

Each template is compiled once for all languages: `_` looks its texts up when a page is made.
"""

from __future__ import annotations

from functools import cache
from urllib.parse import quote

import jinja2
from jinja2.bccache import Bucket

from ehr_design.jinja_macros import add_design
from ehr_portal.i18n import LANGUAGES, localizer_for
from ehr_portal.record.display import split_scripts


class _CodeCache(jinja2.BytecodeCache):
    """The compiled templates of this process, by name and source."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill a bucket with what is compiled already."""
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what a bucket was filled with."""
        self._code[bucket.key] = bucket.bytecode_to_string()


_CODE_CACHE = _CodeCache()


def compile_templates() -> None:
    """Compile every template, so that no reader waits for it: about two seconds of a processor."""
    for language in LANGUAGES:
        environment = template_environment(language.tag)
        for name in environment.list_templates():
            environment.get_template(name)


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
        bytecode_cache=_CODE_CACHE,
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
