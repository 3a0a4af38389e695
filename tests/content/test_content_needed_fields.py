"""Which fields a template cannot do without: found by reading it, before anybody is queued."""

from __future__ import annotations

import pytest
from jinja2.meta import find_undeclared_variables

from mailer.content.needed_fields import needed_fields, used_fields
from mailer.content.template import environment


def needed(source: str) -> set[str]:
    return set(needed_fields(environment(escape=False).parse(source), {"range", "given"}))


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("Hello {{ name }}", {"name"}),
        ("{{ name | upper }} {{ city.street }} {{ items[0] }}", {"name", "city", "items"}),
        # Truth is no guard: a misspelt name would be false for ever.
        ("{{ nick or name }}", {"nick", "name"}),
        ("{% if vip %}x{% endif %}", {"vip"}),
        # These say in so many words that it may be missing.
        ("{{ nick | default('you') }}", set()),
        ("{{ nick | d(name) }}", {"name"}),
        ("{{ nick | upper | default('x') }}", {"nick"}),
        ("{% if nick is defined %}{{ nick }}{% endif %}", set()),
        ("{% if nick is defined %}{{ nick }}{% else %}{{ nick }}{% endif %}", {"nick"}),
        ("{% if nick is not defined %}-{% else %}{{ nick }}{% endif %}", set()),
        ("{% if nick is undefined %}-{% elif a %}{{ nick }}{% else %}{{ nick }}{% endif %}", {"a"}),
        ("{% if nick is defined and nick %}{{ nick }}{% endif %}", set()),
        ("{% if nick is defined or name %}{{ nick }}{% endif %}", {"nick", "name"}),
        ("{% if nick is undefined or nick == '' %}-{% else %}{{ nick }}{% endif %}", set()),
        ("{{ nick if nick is defined else name }}", {"name"}),
        ("{{ nick if nick is defined }}", set()),
        ("{% if nick is defined %}x{% endif %}{{ nick }}", {"nick"}),
        ("{{ user.nick is defined }}", {"user"}),
        # Names that the template binds itself.
        ("{% for item in items %}{{ item.title }}{{ loop.index }}{% endfor %}", {"items"}),
        ("{% for a, b in pairs if a %}{{ a }}{{ b }}{% else %}{{ c }}{% endfor %}", {"pairs", "c"}),
        ("{% for name in names %}{{ name }}{% endfor %}{{ name }}", {"names", "name"}),
        ("{% set who = name %}{{ who }}", {"name"}),
        ("{{ who }}{% set who = name %}", {"name", "who"}),
        ("{% if a %}{% set who = name %}{% endif %}{{ who }}", {"a", "name"}),
        ("{% set who %}{{ name }}{% endset %}{{ who }}", {"name"}),
        ("{% with who = name %}{{ who }}{% endwith %}{{ who }}", {"name", "who"}),
        ("{% macro hi(who, how=a) %}{{ how }} {{ who }} {{ b }}{% endmacro %}{{ hi(name) }}", {"a", "b", "name"}),
        ("{% macro box() %}{{ caller() }}{% endmacro %}{% call box() %}{{ name }}{% endcall %}", {"name"}),
        ("{% filter upper %}{{ name }}{% endfilter %}", {"name"}),
        ("{% autoescape false %}{{ name }}{% endautoescape %}", {"name"}),
        ("{% for i in range(3) %}{{ given }}{% endfor %}", set()),
        ("{{ 'name' }} {# {{ x }} #} {% raw %}{{ y }}{% endraw %}", set()),
    ],
)  # fmt: skip
def test_a_field_is_needed_unless_every_use_of_it_is_guarded(source: str, fields: set[str]) -> None:
    assert needed(source) == fields


@pytest.mark.parametrize(
    "source",
    [
        "{{ a }}{% if b is defined %}{{ c | default(d) }}{% endif %}",
        "{% for x in xs %}{{ x }}{{ y }}{% endfor %}{{ x }}",
        "{% macro m(p) %}{{ p }}{{ q }}{% endmacro %}{{ m(r) }}",
        "{% with p = q %}{{ p }}{% endwith %}",
    ],
)
def test_the_fields_used_are_those_that_jinja2_itself_finds(source: str) -> None:
    tree = environment(escape=False).parse(source)
    assert used_fields(tree, ()) == find_undeclared_variables(tree)
