"""Type check: strict evaluation of paths by R4's definitions before any evaluation (N1 §11).

Types are inferred forward: from the context through members, filters and casts. Where a type is
unknown (the result of most functions, any resource), nothing is refused.
"""

from __future__ import annotations

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import TypeSpecifier, base_types, element_types, is_known_type
from ehr_fhir.fhirpath.lexer import syntax_error

__all__ = ["check_types"]

# The types that the items of a collection may have; None if unknown. It is never empty, because a
# path without any type is refused.
Types = frozenset[str] | None

# Functions whose result has the types of their input.
_TYPE_PRESERVING = frozenset(
    "where first last tail skip take single trace distinct sort exclude intersect checkModifiers"
    " union combine".split()
)
_ITEM_FUNCTIONS = frozenset(
    "where select exists any all repeat repeatAll aggregate sort trace iif".split()
)
_POSITIONAL = frozenset({"first", "last", "tail", "skip", "take"})
_UNORDERED = frozenset({"children", "descendants"})
_ABSTRACT_TYPES = frozenset({"Resource", "DomainResource", "Element", "BackboneElement"})


def check_types(
    tree: syntax.Node, expression: str, context_type: str, *, check_order: bool
) -> None:
    """Raise Invalid for a path with a member that no type before it has.

    With `check_order`, also for a positional function on a collection without a defined order.
    """
    if not is_known_type(context_type):
        raise Invalid(f"There is no FHIR type `{context_type[:60]}`.")
    _Checker(expression, check_order).infer_types(tree, _known_types(frozenset({context_type})))


def _known_types(types: frozenset[str]) -> Types:
    return None if types & _ABSTRACT_TYPES else types


class _Checker:
    def __init__(self, expression: str, check_order: bool) -> None:
        self.expression = expression
        self.check_order = check_order

    def build_error(self, node: syntax.Node, reason: str) -> Invalid:
        return syntax_error(self.expression, node.position, reason)

    def infer_types(self, node: syntax.Node, this: Types) -> Types:
        match node:
            case syntax.Member(base=None, name=name) if self.is_type_of(name, this):
                return frozenset({name}) if name not in _ABSTRACT_TYPES else this
            case syntax.Member(base=None):
                return self.infer_member(node, this)
            case syntax.Member(base=syntax.Node() as base):
                return self.infer_member(node, self.infer_types(base, this))
            case syntax.Special(name="$this"):
                return this
            case syntax.Call():
                return self.infer_call(node, this)
            case syntax.Index(base=base, index=index):
                self.infer_types(index, this)
                return self.infer_types(base, this)
            case syntax.TypeTest(operator=operator, operand=operand, type=type_specifier):
                self.infer_types(operand, this)
                return _types_of_specifier(type_specifier) if operator == "as" else None
            case syntax.Binary(operator=operator, left=left, right=right):
                operand_types = self.infer_types(left, this), self.infer_types(right, this)
                return _union_types(*operand_types) if operator == "|" else None
            case syntax.Unary(operand=operand) | syntax.SortKey(key=operand):
                self.infer_types(operand, this)
        return None

    def is_type_of(self, name: str, this: Types) -> bool:
        if this is None:
            return is_known_type(name)
        return is_known_type(name) and any(name in base_types(type_name) for type_name in this)

    def infer_member(self, node: syntax.Member, owners: Types) -> Types:
        if owners is None:
            return None
        types: set[str] = set()
        for owner in owners:
            elements = element_types(owner)
            if elements is None:
                return None
            types.update(elements.get(node.name, ()))
        if not types:
            names = " or ".join(sorted(owners)) if len(owners) < 4 else "None of the types"
            raise self.build_error(node, f"{names} has no `{node.name[:60]}`")
        return _known_types(frozenset(types))

    def infer_call(self, node: syntax.Call, this: Types) -> Types:
        base = this if node.base is None else self.infer_types(node.base, this)
        self.check_positional(node)
        item = base if node.name in _ITEM_FUNCTIONS else this
        if node.name in ("aggregate", "repeat", "repeatAll"):
            # From the second round on, `$this` or `$total` is the function's own result.
            item = None
        arguments = [self.infer_types(argument, item) for argument in node.arguments]
        if node.name in ("ofType", "as") and node.type is not None:
            return _types_of_specifier(node.type)
        if node.name == "extension":
            return frozenset({"Extension"})
        if node.name == "select":
            return arguments[0] if arguments else None
        if node.name in ("union", "combine") and arguments:
            return _union_types(base, arguments[0])
        return base if node.name in _TYPE_PRESERVING else None

    def check_positional(self, node: syntax.Call) -> None:
        if self.check_order and node.name in _POSITIONAL and isinstance(node.base, syntax.Call):
            if node.base.name in _UNORDERED:
                reason = f"`{node.name}()` depends on an order that `{node.base.name}()` has not"
                raise self.build_error(node, reason)


def _types_of_specifier(type_specifier: TypeSpecifier) -> Types:
    if type_specifier.namespace == "System" or not is_known_type(type_specifier.name):
        return None
    return _known_types(frozenset({type_specifier.name}))


def _union_types(left: Types, right: Types) -> Types:
    return None if left is None or right is None else left | right
