"""A template names nothing that its page does not give it, in branches that no test shows too."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from jinja2 import meta, nodes

import ehr_portal
from ehr_portal.pages.record_views import record_template_values
from ehr_portal.web.templates import template_environment

PACKAGE = Path(ehr_portal.__file__).parent
# What `PortalRequest.render` gives every template, gettext, and the files of macros.
GIVEN_TO_ALL = frozenset(
    {
        "request",
        "lang",
        "languages",
        "printed_person",
        "user",
        "navigation",
        "flashes",
        "help_topic",
        "_",
        "ngettext",
        "static",
    }
    | {
        "pieces",
        "forms",
        "frame",
        "display_form",
        "previews",
        "shortcuts",
        "fields",
        "model_pieces",
        "research",
        "terms_in_words",
    }
)


@cache
def given_names() -> dict[str, set[str]]:
    """Return the names that every call of `render` gives its template, by the template's name."""
    given: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            first = node.args[0] if node.args else None
            if node.func.attr not in ("render", "render_part") or not isinstance(
                first, ast.Constant
            ):
                continue
            names = {keyword.arg for keyword in node.keywords if keyword.arg}
            if any(keyword.arg is None for keyword in node.keywords):
                # The one function whose values are given whole; they are read when they are used.
                names |= set(record_template_values(cast(Any, None), "", {}))
            # Two pages with one template give it what both have.
            template = str(first.value)
            given[template] = given.get(template, names) & names
    return given


@pytest.mark.parametrize("name", sorted(path.name for path in PACKAGE.glob("templates/*.html")))
def test_a_template_names_only_what_it_is_given(name: str) -> None:
    environment = template_environment("en")
    tree = environment.parse((PACKAGE / "templates" / name).read_text("utf-8"))
    # Macros and variables of a template are no undeclared names in its blocks.
    own = {node.name for node in tree.find_all(nodes.Macro)}
    own |= {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}

    unknown = meta.find_undeclared_variables(tree) - own - GIVEN_TO_ALL

    assert unknown - given_names().get(name, set()) == set()


def test_every_template_is_rendered_or_imported() -> None:
    templates = {path.name for path in PACKAGE.glob("templates/*.html")}

    assert templates - set(given_names()) == {
        "base.html",
        "fields.html",
        "forms.html",
        "model_pieces.html",
        "pieces.html",
        "preview_table.html",
        "research_pieces.html",
        "shortcuts.html",
        "terms.html",
    }
