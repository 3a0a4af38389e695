"""Templates: jinja2 in its sandbox, and every way it can fail as a sentence.

Templates are the operator's and fields are strangers': the sandbox is there because templates are also copied from
elsewhere, and the limits on sizes because one slip in a template must cost a message, not the worker.

In HTML what is put in is escaped, in everything else it is not. A field that is null comes out empty, as an empty cell
of a CSV file does: nobody is greeted as "None".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from functools import cache
from typing import Any, Final, NoReturn

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from mailer.content.needed_fields import needed_fields, used_fields
from mailer.content.unfit import Unfit
from mailer.core.nearest import did_you_mean
from mailer.errors import InputError

__all__ = ["Template", "environment", "parse"]

# Larger than what any public provider takes as a whole message in base64 is far too large for one text in it.
LONGEST_RENDERED: Final = 10_000_000
# More turns than a message has lines; the sandbox's own limit is ten times as many.
LONGEST_RANGE: Final = 10_000

_UNDEFINED: Final = re.compile(r"'(\w+)' is undefined")
_UNKNOWN: Final = re.compile(r"No (filter|test) named '([^']*)'\.")


class TooMuch(Exception):
    """A template made more than may be. The text says of what."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`"x" * 10 ** 9` is one small expression: its size is reckoned before it is made."""
        if operator == "**" and not (abs(left) <= LONGEST_RENDERED and abs(right) <= 64):
            raise TooMuch("a power with too large numbers")
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if (
                    isinstance(times, int)
                    and not isinstance(text, int | float)
                    and len(text) * times > LONGEST_RENDERED
                ):
                    raise TooMuch("a repetition that makes too long a text")
        return super().call_binop(context, operator, left, right)

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join what a template makes, and stop as soon as it is too much: a loop may never end otherwise."""
        made: list[str] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > LONGEST_RENDERED:
                raise TooMuch(f"more than {LONGEST_RENDERED:,} characters")
            made.append(piece)
        return "".join(made)


def _bounded_range(*args: int) -> range:
    made = range(*args)
    if len(made) > LONGEST_RANGE:
        raise TooMuch(f"a range of more than {LONGEST_RANGE:,}")
    return made


def _null_is_empty(value: Any) -> Any:
    return "" if value is None else value


@cache
def environment(*, escape: bool) -> _Environment:
    """The one environment for HTML (`escape`), and the one for everything else."""
    made = _Environment(
        undefined=StrictUndefined, autoescape=escape, keep_trailing_newline=True, finalize=_null_is_empty, cache_size=0
    )
    made.globals.clear()
    made.globals.update(range=_bounded_range, dict=dict, cycler=Cycler, joiner=Joiner, namespace=Namespace)
    return made


def parse(source: str, where: str, *, escape: bool) -> nodes.Template:
    """The template's tree. Raises InputError, with `where` (a file, an option) and the line."""
    env = environment(escape=escape)
    try:
        tree = env.parse(source)
        for node in tree.find_all((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)):
            raise InputError(
                f"{where}, line {node.lineno}: a template cannot take in other files.",
                "What is sent is kept with the campaign: put everything into one file.",
            )
        env.compile(tree)  # finds filters and tests that do not exist
    except TemplateSyntaxError as error:
        raise _syntax_error(error, where, env) from None
    except RecursionError:
        raise InputError(f"{where}: it is nested too deeply.") from None
    return tree


class Template:
    """One compiled template, with what is the same in every rendering."""

    def __init__(self, source: str, where: str, *, escape: bool, fixed: Mapping[str, Any]) -> None:
        """`fixed` is given to each rendering. Raises InputError, with `where` and the line."""
        tree = parse(source, where, escape=escape)
        env = environment(escape=escape)
        self.where = where
        self.source = source
        # The text itself where there is nothing to fill in: most headers, many subjects.
        self.constant = _constant(tree)
        self.literal = "".join(each.data for each in tree.find_all(nodes.TemplateData))
        known = env.globals.keys() | fixed.keys() | {"address"}
        self.needed = needed_fields(tree, known)
        self.used = used_fields(tree, known)
        self._render = env.from_string(source).render

    def render(self, values: MutableMapping[str, Any]) -> str:
        """The text for one recipient. Raises Unfit."""
        if self.constant is not None:
            return self.constant
        try:
            return self._render(values)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a template is a program: whatever it raises is about this row
            _raise_unfit(error, self.where)


def _constant(tree: nodes.Template) -> str | None:
    pieces = []
    for node in tree.body:
        if not isinstance(node, nodes.Output) or not all(isinstance(each, nodes.TemplateData) for each in node.nodes):
            return None
        pieces += [each.data for each in node.nodes if isinstance(each, nodes.TemplateData)]
    return "".join(pieces)


def _raise_unfit(error: Exception, where: str) -> NoReturn:
    match error:
        case SecurityError():
            what = f"{where} does what a template may not: {error}"
        case UndefinedError():
            missing = _UNDEFINED.fullmatch(str(error))
            if missing is not None:
                raise Unfit(f"it has no field {missing[1]}, which {where} needs") from None
            what = f"{where} asks for something that is not there: {error}"
        case TooMuch() | OverflowError():
            what = f"{where} would make {error}"
        case RecursionError():
            what = f"{where} calls itself without end"
        case TemplateError():
            what = f"{where} cannot be rendered: {error}"
        case _:
            what = f"{where} cannot be rendered: {type(error).__name__}: {error}"
    raise Unfit(what.rstrip(".")) from None


def _syntax_error(error: TemplateSyntaxError, where: str, env: _Environment) -> InputError:
    message = (error.message or "it is no template").rstrip(".")
    unknown = _UNKNOWN.match(error.message or "")
    hint = ""
    if unknown is not None:
        known = env.filters if unknown[1] == "filter" else env.tests
        message = f"there is no {unknown[1]} {unknown[2]}"
        hint = did_you_mean(unknown[2], known, quote="`")
    return InputError(f"{where}, line {error.lineno}: {message}.", hint)
