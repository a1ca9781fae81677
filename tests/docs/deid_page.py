"""Write docs/reference/deidentification.md from the rules: what passes, type by type."""

from __future__ import annotations

from collections.abc import Iterator

from ehr_fhir.definitions import code_systems
from ehr_privacy.deid import load_rules
from ehr_privacy.deid.modifiers import find_modifiers
from ehr_privacy.deid.rules import CodeForm, Node
from tests.conftest import ROOT

PAGE = ROOT / "docs/reference/deidentification.md"
_HEAD = """# The rules of de-identification

Made from `privacy/ehr_privacy/rules/deid.toml` (version {version}) and R4's definitions by
`make deid-page`. What is not here is dropped. What the methods do: [how records are
de-identified](../explanation/deidentification.md). `ehr deid explain FILE` applies the rules to a
record of yours.

An element marked ● is a modifier: with a value that does not pass, the whole record is dropped.
"""


def page_text() -> str:
    """Return the page."""
    rules = load_rules()
    parts = [_HEAD.format(version=rules.version)]
    for kind in sorted(rules.types):
        parts.append(f"## {kind}\n\n| element | rule |\n| --- | --- |")
        parts.append("\n".join(_rows(kind, rules.types[kind])))
        if dates := rules.event_dates.get(kind):
            parts.append("\nThe age at the event is by " + ", ".join(f"`{d}`" for d in dates) + ".")
        parts.append("")
    parts.append("## Code systems\n\n| system | codes |\n| --- | --- |")
    parts += [f"| `{name}` | {_form(form)} |" for name, form in sorted(rules.systems.items())]
    parts.append(
        f"\nBeside these, code by code, the {len(code_systems())} systems of HL7's own that an"
        " element of R4 is bound to.\n"
    )
    parts.append("## Codes whose dates are public\n\n| system | codes |\n| --- | --- |")
    for system, codes in sorted(rules.known_dates.items()):
        parts.append(f"| `{system}` | {', '.join(sorted(codes))} |")
    return "\n".join(parts) + "\n"


def _rows(kind: str, node: Node) -> Iterator[str]:
    modifiers = find_modifiers(kind, node)
    for path, leaf in _leaves(node, ""):
        mark = " ●" if path.split(".")[0] in modifiers else ""
        rule = ", ".join(sorted(leaf.values)) if leaf.values else leaf.method
        yield f"| `{path}`{mark} | {rule} |"


def _leaves(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    if node.elements is None:
        yield path, node
        return
    for name, child in node.elements.items():
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _form(form: CodeForm) -> str:
    if form.pattern is None:
        return f"check `{form.check}`"
    pattern = form.pattern.pattern.replace("|", "\\|")
    return f"`{pattern}`"


if __name__ == "__main__":
    PAGE.write_text(page_text(), "utf-8")
