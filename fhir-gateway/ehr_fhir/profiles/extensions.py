"""Extensions: known or not, where they may be used, and what their definitions say of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ehr_fhir.errors import EhrError
from ehr_fhir.fhirpath import Element
from ehr_fhir.fhirpath import compile as compile_expression
from ehr_fhir.fhirpath.datatypes import base_types
from ehr_fhir.profiles.findings import Place, Run
from ehr_fhir.profiles.r4 import TYPE_BASE
from ehr_fhir.profiles.rules import Check, check_node
from ehr_fhir.profiles.structure import ElementNode, Profile

__all__ = ["make_extension_check"]

_INDEX = re.compile(r"\[\d+\]")


def make_extension_check(*, is_modifier: bool) -> Check:
    """Return the check of the extensions, or the modifier extensions, of any element."""

    def check(place: Place, run: Run) -> None:
        url = place.value.get("url") if type(place.value) is dict else None
        # Parts of an extension have relative addresses: its definition tells of them.
        if not isinstance(url, str) or ":" not in url:
            return
        profile = run.library.profile(url)
        if profile is None or profile.type != "Extension":
            _report_unknown(place, run, is_modifier=is_modifier)
            return
        is_modifying = run.library.is_modifier_extension(url)
        if is_modifying is not is_modifier:
            kind = "modifierExtension" if is_modifying else "extension"
            run.error("extension", place.path, f"The extension {url} must be in `{kind}`.")
        if not _fits(profile.context, place, run):
            run.error("extension", place.path, f"The extension {url} may not be used here.")
        _check_parts(profile, place, run)
        node = run.library.node(url)
        if node is not None:
            check_node(node, place, run)

    return check


def _check_parts(profile: Profile, place: Place, run: Run) -> None:
    """Check that the definition of an extension has each of its parts with a relative address."""
    slices = profile.root.children["extension"].slices
    known = {url for one in slices if "url" in one.children for url in _read_fixed_urls(one)}
    for index, part in enumerate(place.value.get("extension", ())):
        url = part.get("url", "")
        if ":" not in url and url not in known:
            text = f"The extension {profile.url} has no such part."
            run.error("extension", f"{place.path}.extension[{index}]", text)


def _read_fixed_urls(part: ElementNode) -> tuple[str, ...]:
    return part.children["url"].definition.fixed


def _report_unknown(place: Place, run: Run, *, is_modifier: bool) -> None:
    if is_modifier:
        # R4 §2.29: who does not know it must not use the element.
        text = "A modifier extension is not known here: its definition is not loaded."
        run.error("extension", place.path, text)
    else:
        text = "The extension is not known here: its definition is not loaded."
        run.add("information", "extension", place.path, text)


def _fits(context: tuple[tuple[str, str], ...], place: Place, run: Run) -> bool:
    """Say whether an extension may be used where it is (R4, StructureDefinition.context)."""
    holder = place.holder
    if holder is None:
        return True
    names = set(_names_of(holder))
    for kind, expression in context:
        if kind == "element":
            if expression.removeprefix(TYPE_BASE) in names:
                return True
        elif kind == "extension":
            if holder.type == "Extension" and holder.value.get("url") == expression:
                return True
        elif _is_selected(expression, holder, run):
            return True
    return not context


def _names_of(holder: Place) -> Iterator[str]:
    """Yield what a definition may call the element that has an extension."""
    for name in (_INDEX.sub("", holder.path), holder.defined_at):
        yield name
        yield name.removesuffix("[x]")
    yield from base_types(holder.type)


def _is_selected(expression: str, holder: Place, run: Run) -> bool:
    try:
        compiled = compile_expression(expression, as_filters=True)
        found = compiled.evaluate(run.resource, now=run.now, resolve=run.resolve)
    except EhrError:
        return False
    return any(isinstance(item, Element) and item.value is holder.value for item in found)
