"""Paths followed through R4's definitions before anything is evaluated.

Types flow forward: from the context, through elements, filters and casts. Where a type is not known
(a function's own result, any resource), nothing is claimed and nothing refused.
"""

from __future__ import annotations

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import TypeSpecifier, base_types, element_types, is_known_type
from ehr_fhir.fhirpath.lexer import syntax_error

__all__ = ["check_types"]

# None: not known. The empty set does not occur: such a path is refused.
Types = frozenset[str] | None

_SAME = frozenset(
    "where first last tail skip take single trace distinct sort exclude intersect checkModifiers"
    " union combine".split()
)
_LAMBDA = frozenset("where select exists any all repeat repeatAll aggregate sort trace iif".split())
_ORDERED = frozenset({"first", "last", "tail", "skip", "take"})
_UNORDERED = frozenset({"children", "descendants"})
_OPEN = frozenset({"Resource", "DomainResource", "Element", "BackboneElement"})


def check_types(
    tree: syntax.Node, expression: str, context_type: str, *, check_order: bool
) -> None:
    """Refuse a path that leads nowhere from a type of context."""
    if not is_known_type(context_type):
        raise Invalid(f"There is no FHIR type `{context_type[:60]}`.")
    _Checker(expression, check_order).types(tree, _open(frozenset({context_type})))


def _open(types: frozenset[str]) -> Types:
    return None if types & _OPEN else types


class _Checker:
    def __init__(self, expression: str, check_order: bool) -> None:
        self.expression = expression
        self.check_order = check_order

    def fault(self, node: syntax.Node, reason: str) -> Invalid:
        return syntax_error(self.expression, node.position, reason)

    def types(self, node: syntax.Node, this: Types) -> Types:
        match node:
            case syntax.Member(base=None, name=name) if self.is_type_of(name, this):
                return frozenset({name}) if name not in _OPEN else this
            case syntax.Member(base=None):
                return self.member(node, this)
            case syntax.Member(base=syntax.Node() as base):
                return self.member(node, self.types(base, this))
            case syntax.Special(name="$this"):
                return this
            case syntax.Call():
                return self.call(node, this)
            case syntax.Index(base=base, index=index):
                self.types(index, this)
                return self.types(base, this)
            case syntax.TypeTest(operator=operator, operand=operand, type=type_specifier):
                self.types(operand, this)
                return _named(type_specifier) if operator == "as" else None
            case syntax.Binary(operator=operator, left=left, right=right):
                sides = self.types(left, this), self.types(right, this)
                return _either(*sides) if operator == "|" else None
            case syntax.Unary(operand=below) | syntax.SortKey(key=below):
                self.types(below, this)
        return None

    def is_type_of(self, name: str, this: Types) -> bool:
        if this is None:
            return is_known_type(name)
        return is_known_type(name) and any(name in base_types(type_name) for type_name in this)

    def member(self, node: syntax.Member, owners: Types) -> Types:
        if owners is None:
            return None
        found: set[str] = set()
        for owner in owners:
            known = element_types(owner)
            if known is None:
                return None
            found.update(known.get(node.name, ()))
        if not found:
            names = " or ".join(sorted(owners)) if len(owners) < 4 else "None of the types"
            raise self.fault(node, f"{names} has no `{node.name[:60]}`")
        return _open(frozenset(found))

    def call(self, node: syntax.Call, this: Types) -> Types:
        base = this if node.base is None else self.types(node.base, this)
        self.ordered(node)
        item = base if node.name in _LAMBDA else this
        if node.name in ("aggregate", "repeat", "repeatAll"):
            # From the second round on, the items are what the function itself made.
            item = None
        arguments = [self.types(argument, item) for argument in node.arguments]
        if node.name in ("ofType", "as") and node.type is not None:
            return _named(node.type)
        if node.name == "extension":
            return frozenset({"Extension"})
        if node.name == "select":
            return arguments[0] if arguments else None
        if node.name in ("union", "combine") and arguments:
            return _either(base, arguments[0])
        return base if node.name in _SAME else None

    def ordered(self, node: syntax.Call) -> None:
        if self.check_order and node.name in _ORDERED and isinstance(node.base, syntax.Call):
            if node.base.name in _UNORDERED:
                reason = f"`{node.name}()` depends on an order that `{node.base.name}()` has not"
                raise self.fault(node, reason)


def _named(type_specifier: TypeSpecifier) -> Types:
    if type_specifier.namespace == "System" or not is_known_type(type_specifier.name):
        return None
    return _open(frozenset({type_specifier.name}))


def _either(left: Types, right: Types) -> Types:
    return None if left is None or right is None else left | right
