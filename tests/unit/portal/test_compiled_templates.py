"""Templates are compiled once for all languages."""

from __future__ import annotations

import pytest
from jinja2 import Environment

from ehr_portal.i18n import LANGUAGES
from ehr_portal.web.templates import compile_templates, template_environment


def test_a_template_is_compiled_once_for_all_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_templates()
    template_environment.cache_clear()

    def compile_again(*_: object, **__: object) -> None:
        raise AssertionError("It is compiled already.")

    monkeypatch.setattr(Environment, "compile", compile_again)
    for language in LANGUAGES:
        environment = template_environment(language.tag)
        names = environment.list_templates()
        assert {"base.html", "home.html", "design/frame.html"} <= set(names)
        for name in names:
            environment.get_template(name)
