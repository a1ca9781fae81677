"""Tokens as they stand in the index: with case where it means something, folded where it does not.

Whether case matters in a code is for its system to say (CodeSystem.caseSensitive); in doubt tokens
are compared without case (R4 §3.1.1.4.10): finding too much does less harm than too little. So a
token keeps its case in a code system that R4 defines as case-sensitive and in the codes of FHIR's
own elements. Identifiers, contact points, strings, and codes of any other system are folded.

A folded key begins with a mark, so that it equals no token that keeps its case. Tokens without
letters, such as LOINC's and SNOMED CT's, are the same either way and bear none.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, lru_cache

from ehr_fhir import definitions
from ehr_fhir.string_folding import shorten_for_index

__all__ = ["folded_key", "is_case_sensitive", "search_keys", "token_key"]

# Not a character, so that no token begins with it.
_MARK = "\ufdd1"
# Not in R4's files: UCUM's `m` and `M` are a metre and a mega-; URIs differ by case (RFC 3986).
_OTHER_CASE_SENSITIVE = frozenset({"http://unitsofmeasure.org", "urn:ietf:rfc:3986"})
# Datatypes whose values keep their case in the index, whatever is searched for.
_PLAIN = frozenset({"boolean", "code", "id", "uri"})
# Datatypes whose system decides.
_WITH_SYSTEM = frozenset({"CodeableConcept", "Coding", "ContactPoint", "Identifier"})


@cache
def _case_sensitive_systems() -> frozenset[str]:
    return frozenset(definitions.load_definition("case-sensitive-systems.json.gz"))


def is_case_sensitive(system: str) -> bool:
    """Say whether codes of a system that differ by case differ.

    >>> is_case_sensitive("http://hl7.org/fhir/administrative-gender")
    True
    >>> is_case_sensitive("urn:oid:2.16.344.1.1"), is_case_sensitive("")
    (False, False)
    """
    return system in _case_sensitive_systems() or system in _OTHER_CASE_SENSITIVE


# Codes and identifier systems come again and again.
@lru_cache(4096)
def token_key(system: str, code: str) -> str:
    r"""Return the key of a code in a system, or of an identifier.

    >>> token_key("urn:hkid", "A123456"), token_key("urn:hkid", "123")
    ('\ufdd1a123456', '123')
    """
    return shorten_for_index(code) if is_case_sensitive(system) else folded_key(code)


def folded_key(code: str) -> str:
    """Return the key of a token that is compared without case, whatever its system."""
    folded = code.casefold()
    if folded == code and code.upper() == code:
        return shorten_for_index(code)
    return shorten_for_index(_MARK + folded)


def search_keys(datatypes: Collection[str], system: str | None, code: str) -> list[str]:
    """Return the keys that a searched token may have, by the datatypes of its parameter.

    `system` is None where any will do; then the token is found with its case kept, and folded.
    """
    if _PLAIN.issuperset(datatypes):
        return [shorten_for_index(code)]
    if system is not None and _WITH_SYSTEM.issuperset(datatypes):
        return [token_key(system, code)]
    return list(dict.fromkeys([shorten_for_index(code), folded_key(code)]))
