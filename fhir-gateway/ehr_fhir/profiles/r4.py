"""R4's own StructureDefinitions, each parsed when it is asked for."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from ehr_fhir.profiles.structure import ElementDefinition, ElementNode, Profile, read_profile

__all__ = ["TYPE_BASE", "find_r4_profile", "find_r4_structure", "r4_definition", "r4_element"]

TYPE_BASE = "http://hl7.org/fhir/StructureDefinition/"
_URL = re.compile(rb'"url":"([^"]*)"')


@cache
def find_r4_structure(url: str) -> Mapping[str, Any] | None:
    """Return one of R4's StructureDefinitions as JSON, with its snapshot.

    >>> find_r4_structure("http://hl7.org/fhir/StructureDefinition/Patient")["type"]
    'Patient'
    """
    line = _lines().get(url)
    return None if line is None else orjson.loads(line)


@cache
def find_r4_profile(url: str) -> Profile | None:
    """Return one of R4's StructureDefinitions."""
    structure = find_r4_structure(url)
    return None if structure is None else read_profile(structure)


@cache
def r4_element(owner: str, name: str) -> ElementNode | None:
    """Return the definition of an element of a type, or of a part of a resource.

    >>> r4_element("Patient.contact", "gender").definition.binding.strength
    'required'
    """
    first, *inner = owner.split(".")
    profile = find_r4_profile(TYPE_BASE + first)
    node = None if profile is None else profile.root
    for step in (*inner, name):
        node = None if node is None else node.children.get(step) or node.children.get(f"{step}[x]")
    return node


@cache
def r4_definition(path: str) -> ElementDefinition | None:
    """Return R4's definition of the element at a path, which may lead through datatypes.

    >>> r4_definition("Patient.identifier.use").binding.strength
    'required'
    """
    owner, *names = path.split(".")
    definition = None
    for name in names:
        node = r4_element(owner, name.removesuffix("[x]"))
        if node is None:
            return None
        definition = node.definition
        types = [kind.code for kind in definition.types]
        is_part = types in (["BackboneElement"], ["Element"])
        owner = definition.path if is_part else types[0] if len(types) == 1 else ""
    return definition


@cache
def _lines() -> Mapping[str, bytes]:
    content = (files("ehr_fhir.definitions") / "structure-definitions.ndjson.gz").read_bytes()
    found = {}
    for line in gzip.decompress(content).splitlines():
        match = _URL.search(line)
        if match is not None:
            found[match[1].decode()] = line
    return found
