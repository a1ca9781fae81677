"""StructureDefinitions as values: what validation reads of them, with the elements as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ehr_fhir.errors import Unprocessable

__all__ = [
    "Binding",
    "Constraint",
    "Discriminator",
    "ElementDefinition",
    "ElementNode",
    "Profile",
    "Slicing",
    "TypeReference",
    "element_ids",
    "read_profile",
    "split_canonical",
]

# Element ids and some urls are typed by FHIRPath's own System types.
_SYSTEM_TYPE = "http://hl7.org/fhirpath/System."
_MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"


@dataclass(frozen=True, slots=True)
class TypeReference:
    """One datatype that an element may have, the profiles it must meet, and those of its target."""

    code: str
    profiles: tuple[str, ...] = ()
    target_profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Constraint:
    """An invariant."""

    key: str
    severity: str
    human: str
    expression: str


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding to a value set; `max_value_set` is what even an extensible one must not leave."""

    strength: str
    value_set: str
    max_value_set: str = ""


@dataclass(frozen=True, slots=True)
class Discriminator:
    """How slices are told apart: `type` is value, pattern, type, profile or exists."""

    type: str
    path: str


@dataclass(frozen=True, slots=True)
class Slicing:
    """How an element is sliced; `rules` is open, openAtEnd or closed."""

    discriminators: tuple[Discriminator, ...]
    ordered: bool
    rules: str


@dataclass(frozen=True, slots=True)
class ElementDefinition:
    """One element of a snapshot. A `most` of None means no limit."""

    path: str
    slice_name: str = ""
    least: int = 0
    most: int | None = None
    types: tuple[TypeReference, ...] = ()
    content_reference: str = ""
    # Any: JSON of every shape. A tuple, so that `None` is no value.
    fixed: tuple[Any, ...] = ()
    pattern: tuple[Any, ...] = ()
    binding: Binding | None = None
    constraints: tuple[Constraint, ...] = ()
    slicing: Slicing | None = None
    max_length: int | None = None
    least_value: tuple[Any, ...] = ()
    most_value: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The element's own name: `value[x]`."""
        return self.path.rpartition(".")[2]


@dataclass(eq=False)
class ElementNode:
    """An element with the elements below it by name, and its slices."""

    definition: ElementDefinition
    children: dict[str, ElementNode] = field(default_factory=dict)
    slices: list[ElementNode] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Profile:
    """A StructureDefinition: R4's own of a type, or a constraint on one."""

    url: str
    version: str
    type: str
    # Whether it constrains a type; otherwise it defines one.
    is_constraint: bool
    # (kind of context, expression) where an extension may be used.
    context: tuple[tuple[str, str], ...]
    root: ElementNode


def split_canonical(canonical: str) -> tuple[str, str]:
    """Return the address and the version (or nothing) of a canonical reference.

    >>> split_canonical("http://e/p|1.0"), split_canonical("http://e/p")
    (('http://e/p', '1.0'), ('http://e/p', ''))
    """
    url, _, version = canonical.partition("|")
    return url, version


def read_profile(resource: Mapping[str, Any]) -> Profile:
    """Read a StructureDefinition; raise Unprocessable where its snapshot makes no tree."""
    elements = resource.get("snapshot", {}).get("element", [])
    if not elements:
        text = "The StructureDefinition has no snapshot."
        raise Unprocessable(text, expression="StructureDefinition.snapshot")
    return Profile(
        url=resource["url"],
        version=resource.get("version", ""),
        type=resource["type"],
        is_constraint=resource.get("derivation") == "constraint",
        context=tuple((row["type"], row["expression"]) for row in resource.get("context", ())),
        root=_build_tree(elements),
    )


def element_ids(elements: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the id of each element, made from paths and slice names where it has none.

    >>> list(element_ids([{"path": "A"}, {"path": "A.b", "sliceName": "x"}, {"path": "A.b.c"}]))
    ['A', 'A.b:x', 'A.b:x.c']
    """
    slices: dict[str, str] = {}
    for element in elements:
        path = element["path"]
        slices = {at: name for at, name in slices.items() if path.startswith(f"{at}.")}
        if "sliceName" in element:
            slices[path] = element["sliceName"]
        names, at = [], ""
        for name in path.split("."):
            at = f"{at}.{name}" if at else name
            names.append(f"{name}:{slices[at]}" if at in slices else name)
        yield element.get("id") or ".".join(names)


def _build_tree(elements: Sequence[Mapping[str, Any]]) -> ElementNode:
    nodes: dict[str, ElementNode] = {}
    root = ElementNode(_read_element(elements[0]))
    nodes[elements[0]["path"]] = root
    for identity, element in zip(element_ids(elements), elements, strict=True):
        if "." not in identity:
            continue
        node = nodes[identity] = ElementNode(_read_element(element))
        before, _, last = identity.rpartition(".")
        name, _, slice_name = last.partition(":")
        # A slice of a slice is named `slice/inner`.
        outer, _, _ = slice_name.rpartition("/")
        sliced = f"{before}.{name}" + (f":{outer}" if outer else "")
        if slice_name and sliced in nodes:
            nodes[sliced].slices.append(node)
        elif not slice_name and before in nodes:
            nodes[before].children[name] = node
        else:
            text = "An element of the snapshot comes before the one that it is part of."
            raise Unprocessable(text, expression="StructureDefinition.snapshot.element")
    return root


def _read_element(element: Mapping[str, Any]) -> ElementDefinition:
    most = element.get("max", "*")
    return ElementDefinition(
        path=element["path"],
        slice_name=element.get("sliceName", ""),
        least=element.get("min", 0),
        most=int(most) if most.isdecimal() else None,
        types=tuple(_read_type(kind) for kind in element.get("type", ())),
        content_reference=element.get("contentReference", "").partition("#")[2],
        fixed=_read_value(element, "fixed"),
        pattern=_read_value(element, "pattern"),
        binding=_read_binding(element.get("binding")),
        constraints=tuple(
            Constraint(
                rule["key"], rule["severity"], rule.get("human", ""), rule.get("expression", "")
            )
            for rule in element.get("constraint", ())
        ),
        slicing=_read_slicing(element.get("slicing")),
        max_length=element.get("maxLength"),
        least_value=_read_value(element, "minValue"),
        most_value=_read_value(element, "maxValue"),
    )


def _read_type(kind: Mapping[str, Any]) -> TypeReference:
    code = kind.get("code", "")
    if code.startswith(_SYSTEM_TYPE):
        code = code.removeprefix(_SYSTEM_TYPE).lower()
    return TypeReference(code, tuple(kind.get("profile", ())), tuple(kind.get("targetProfile", ())))


def _read_value(element: Mapping[str, Any], prefix: str) -> tuple[Any, ...]:
    """Return the value of `fixed[x]` and the like, of whatever datatype."""
    for key, value in element.items():
        if key.startswith(prefix) and key[len(prefix) :][:1].isupper():
            return (value,)
    return ()


def _read_binding(binding: Mapping[str, Any] | None) -> Binding | None:
    if binding is None or "valueSet" not in binding:
        return None
    widest = [
        extension.get("valueCanonical") or extension.get("valueUri", "")
        for extension in binding.get("extension", ())
        if extension.get("url") == _MAX_VALUE_SET
    ]
    return Binding(binding["strength"], binding["valueSet"], widest[0] if widest else "")


def _read_slicing(slicing: Mapping[str, Any] | None) -> Slicing | None:
    if slicing is None:
        return None
    return Slicing(
        tuple(Discriminator(row["type"], row["path"]) for row in slicing.get("discriminator", ())),
        slicing.get("ordered", False),
        slicing.get("rules", "open"),
    )
