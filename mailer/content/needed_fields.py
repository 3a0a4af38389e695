"""Which fields a template cannot do without, found by reading it.

A field is needed if it is used anywhere without a guard. What guards is what says in so many words that it may be
missing: `is defined`, `is undefined`, `default(…)`. Truth is no guard: `{{ nick or name }}` fails without `nick`, and
that is meant, for a misspelt name would be false for ever.

Scopes are followed as jinja2 does: names bound by `for`, `set`, `with`, a macro's arguments or its name are no fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jinja2 import nodes

__all__ = ["needed_fields", "used_fields"]

# Given by jinja2 inside of loops, macros and calls.
_ALWAYS_BOUND: Final = frozenset({"loop", "caller", "varargs", "kwargs", "self", "super", "true", "false", "none"})


def needed_fields(template: nodes.Template, given: Iterable[str]) -> frozenset[str]:
    """The names that must be there when `template` is rendered, without those in `given`."""
    walk = _Walk()
    walk.body(template.body, _ALWAYS_BOUND | frozenset(given), frozenset())
    return frozenset(walk.needed)


def used_fields(template: nodes.Template, given: Iterable[str]) -> frozenset[str]:
    """The names that `template` asks for at all, guarded or not."""
    walk = _Walk()
    walk.body(template.body, _ALWAYS_BOUND | frozenset(given), frozenset())
    return frozenset(walk.used)


class _Walk:
    """`bound` are the names that are no fields here; `safe` the fields known to be there, or allowed to be missing."""

    def __init__(self) -> None:
        self.needed: set[str] = set()
        self.used: set[str] = set()

    def body(self, body: Iterable[nodes.Node], bound: frozenset[str], safe: frozenset[str]) -> None:
        """Statements in order: what one binds holds for those behind it."""
        for node in body:
            self.node(node, bound, safe)
            bound |= _binds(node)

    def node(self, node: nodes.Node, bound: frozenset[str], safe: frozenset[str]) -> None:
        """One statement or expression."""
        match node:
            case nodes.Name(name=name, ctx="load") if name not in bound:
                self.used.add(name)
                if name not in safe:
                    self.needed.add(name)
            case nodes.If():
                self.branches(node, bound, safe)
            case nodes.CondExpr():
                self.node(node.test, bound, safe)
                self.node(node.expr1, bound, safe | _there_if(node.test, truth=True))
                if node.expr2 is not None:
                    self.node(node.expr2, bound, safe | _there_if(node.test, truth=False))
            case nodes.And() | nodes.Or():
                self.node(node.left, bound, safe)
                self.node(node.right, bound, safe | _there_if(node.left, truth=isinstance(node, nodes.And)))
            case nodes.Test(name="defined" | "undefined") | nodes.Filter(name="default" | "d"):
                asked = frozenset({node.node.name}) if isinstance(node.node, nodes.Name) else frozenset()
                if node.node is not None:
                    self.node(node.node, bound, safe | asked)
                self.children(node, bound, safe, but=node.node)
            case nodes.For():
                self.node(node.iter, bound, safe)
                inside = bound | _targets(node.target)
                if node.test is not None:
                    self.node(node.test, inside, safe)
                self.body(node.body, inside, safe)
                self.body(node.else_, bound, safe)
            case nodes.Macro() | nodes.CallBlock():
                self.children(node, bound, safe, but=node.body)
                self.body(node.body, bound | {argument.name for argument in node.args}, safe)
            case nodes.With():
                for value in node.values:
                    self.node(value, bound, safe)
                self.body(node.body, bound.union(*map(_targets, node.targets)), safe)
            case nodes.AssignBlock() | nodes.FilterBlock() | nodes.Scope() | nodes.ScopedEvalContextModifier():
                self.children(node, bound, safe, but=node.body)
                self.body(node.body, bound, safe)
            case _:
                self.children(node, bound, safe)

    def branches(self, node: nodes.If, bound: frozenset[str], safe: frozenset[str]) -> None:
        """An `if` with its `elif`s: behind each test it is known that the ones before were false."""
        for branch in (node, *node.elif_):
            self.node(branch.test, bound, safe)
            self.body(branch.body, bound, safe | _there_if(branch.test, truth=True))
            safe |= _there_if(branch.test, truth=False)
        self.body(node.else_, bound, safe)

    def children(self, node: nodes.Node, bound: frozenset[str], safe: frozenset[str], but: object = None) -> None:
        """Everything inside of `node`, without `but`."""
        passed_over = [id(each) for each in but] if isinstance(but, list) else [id(but)]
        for child in node.iter_child_nodes():
            if id(child) not in passed_over:
                self.node(child, bound, safe)


def _binds(node: nodes.Node) -> frozenset[str]:
    """Names that are set for what follows `node` in the same scope."""
    match node:
        case nodes.Assign() | nodes.AssignBlock():
            return _targets(node.target)
        case nodes.Macro():
            return frozenset({node.name})
        case nodes.If():
            # Set in one branch only: whether it is there is seen when it is rendered.
            inside = [*node.body, *(each for branch in node.elif_ for each in branch.body), *node.else_]
            return frozenset().union(*map(_binds, inside))
        case _:
            return frozenset()


def _targets(node: nodes.Node) -> frozenset[str]:
    names = [node] if isinstance(node, nodes.Name) else node.find_all(nodes.Name)
    return frozenset(name.name for name in names)


def _there_if(test: nodes.Node, *, truth: bool) -> frozenset[str]:
    """The names that are known to be there where `test` came out as `truth`."""
    match test:
        case nodes.Test(name="defined", node=nodes.Name(name=name)) if truth:
            return frozenset({name})
        case nodes.Test(name="undefined", node=nodes.Name(name=name)) if not truth:
            return frozenset({name})
        case nodes.Not(node=inner):
            return _there_if(inner, truth=not truth)
        case nodes.And(left=left, right=right) if truth:
            return _there_if(left, truth=True) | _there_if(right, truth=True)
        case nodes.Or(left=left, right=right) if not truth:
            return _there_if(left, truth=False) | _there_if(right, truth=False)
        case _:
            return frozenset()
