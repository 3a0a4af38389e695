"""Text made from HTML: what a reader sees, links kept, and the same whether a template or its result was walked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content.html_template import TextOfHtml, text_template
from mailer.content.html_text import fold, settle, text_of_html
from mailer.content.template import environment


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo\n"),
        ("<h1>Title</h1>\n\n  <p>Words   and\nmore</p>", "Title\n\nWords and more\n"),
        ("<div>One</div><div>Two</div>", "One\nTwo\n"),
        ("One<br>Two<br/>Three", "One\nTwo\nThree\n"),
        ("One<br><br>Two<br><br><br>Three", "One\n\nTwo\n\nThree\n"),
        ("<p>One<br></p><p>Two</p>", "One\n\nTwo\n"),
        ("one<b> two</b> <i>three</i>", "one two three\n"),
        ("a&nbsp;b &lt;c&gt; &amp; &#20013;", "a b <c> & 中\n"),
        ("<title>t</title><style>p {x}</style><script>a<b</script><p>seen</p>", "seen\n"),
        ("<head><meta charset=utf-8><title>t</title></head><body>seen</body>", "seen\n"),
        ("<head><title>t</title><body>seen", "seen\n"),
        ('<div style="display: none">preview <div>x</div></div>seen', "seen\n"),
        ("<!-- no --><p>seen<!-- nor this --></p>", "seen\n"),
        ("<p>x</p><hr><p>y</p>", "x\n\n" + "-" * 40 + "\n\ny\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        ('<img src="cid:logo" alt="The shop">', "The shop\n"),
        ('<img src="cid:logo">', ""),
        ("", ""),
        ("just words", "just words\n"),
        # Lists.
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two\n"),
        ("<p>x</p><ol><li>one<li>two</ol><p>y</p>", "x\n\n1. one\n2. two\n\ny\n"),
        ("<ul><li><p>one</p></li><li> two</li></ul>", "- one\n\n- two\n"),
        ("<ul><li>a<ol><li>b</li><li>c</li></ol></li><li>d</li></ul>", "- a\n  1. b\n  2. c\n- d\n"),
        ("<li>alone", "- alone\n"),
        # Links.
        ('<a href="https://x.example/a?b=1&amp;c=2">the page</a>.', "the page (https://x.example/a?b=1&c=2).\n"),
        ('<a href="https://x.example/">https://x.example/</a>', "https://x.example/\n"),
        ('<a href="https://x.example/">x.example</a>!', "https://x.example/!\n"),
        ('<a href="mailto:a@b.example">a@b.example</a>', "a@b.example\n"),
        ('<a href="mailto:a@b.example">write</a>', "write (mailto:a@b.example)\n"),
        ('<a href="#top">up</a> <a name="x">here</a> <a href="">there</a>', "up here there\n"),
        ('<a href="https://x.example"><img alt="Shop"></a>', "Shop (https://x.example)\n"),
        ('<a href="https://x.example"><img></a>', "https://x.example\n"),
        ('<a href="https://x.example"><p>Two</p> <p>lines</p></a>end', "Two\n\nlines (https://x.example)\n\nend\n"),
        ('<a href="https://x.example">open', "open (https://x.example)\n"),
        (
            '<a href="https://x.example">a<a href="https://y.example">b</a>',
            "a (https://x.example)b (https://y.example)\n",
        ),
        # Preformatted.
        ("<pre>a  b\n\n  c\n</pre>d", "a  b\n\n  c\n\nd\n"),
    ],
)
def test_html_becomes_what_a_reader_sees(html: str, text: str) -> None:
    assert text_of_html(html) == text


TEMPLATES = [
    "<p>Dear {{ name }},</p><p>{{ words }}</p>",
    "<h1>{{ name | upper }}</h1>{% if vip %}<p>thanks</p>{% else %}<p>buy</p>{% endif %}<p>end</p>",
    "{%- if vip -%} <b> a </b> {%- endif %} b {{- name -}} c",
    "<ul>{% for item in items %}<li>{{ item }}</li>{% endfor %}</ul>x",
    "<ol>\n{% for item in items %}\n  <li> <p>{{ item }}</p>\n{% endfor %}</ol>{{ name }}<ol><li>again</ol>",
    '<a href="https://x.example/{{ name | urlencode }}?a=1&amp;b=2">{{ words }}</a>',
    "<a href='{{ words }}'>{{ words }}</a> and <a href=\"{{ words }}\">x<br></a>",
    '<a href="{% if vip %}https://v.example{% else %}https://n.example{% endif %}">go</a>',
    '<a href="https://x.example">{% if vip %}{{ name }}{% endif %}</a>',
    '<p {# c #}class="{{ name }}">{{ name }}<br>{{ words }}<br></p>{{ words }}',
    '<style>p { color: {{ name }} } {% if vip %}x{% endif %}</style><p title="{% if vip %}x{% endif %}">{{ name }}</p>',
    "<table>{% for item in items %}<tr><td>{{ loop.index }}</td><td>{{ item }}</td></tr>{% endfor %}</table>",
    '<img alt="{{ name }}"><!-- {{ words }} {% if vip %}a{% endif %} -->{{ nothing }}|',
    "{% set who = name %}<p>{{ who }}</p>{% with x = words %}{{ x }}{% endwith %}{{ name ~ words }}",
    "<div>{{ '<b>' }} {{ words | replace('a', '<br>') }}</div>{{ items | join(', ') }}",
    "<p>a</p>{% if vip %}<br>{% endif %}<br>{% if vip %}<p>b</p>{% endif %}<div>c</div>&nbsp;{{ name }}&nbsp; d",
]
SLOW_TEMPLATES = [
    "<p>{{ html | safe }}</p>",
    "{% macro b(x) %}<b>{{ x }}</b>{% endmacro %}<p>{{ b(name) }}</p>",
    "{% autoescape false %}{{ html }}{% endautoescape %}",
    "{% set x %}<b>{{ name }}</b>{% endset %}{{ x }}",
    "{{ words | e }}",
    "<a href={{ name }}>x</a>",
    "<{{ tag }}>x</{{ tag }}>",
    "<h{{ 1 }}>x</h1>",
    "&{{ name }};",
    "<pre>{{ words }}</pre>",
    "{% if vip %}<a href='https://v.example'>{% else %}<a href='https://n.example'>{% endif %}go</a>",
    '<p class="{% if vip %}x">A</p><p class="{% endif %}">B</p>',
    "<style>{% if vip %}</style>A<style>{% endif %}</style>{{ name }}",
    '<p style="{% if vip %}display:none{% endif %}">{{ name }}</p>',
    '<p class="{% set who = name %}">{{ who }}</p>',
    "{% raw %}{{ no }}{% endraw %} {{ name }}",
    "a {{ '{' }}&#123;{{ name }}",
    "<style>{{ name }}",
]
WORDS = st.text(st.sampled_from("ab <>&\"'\n\t\xa0{}%中/:") | st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = st.fixed_dictionaries({
    "name": WORDS,
    "words": WORDS,
    "vip": st.booleans(),
    "items": st.lists(WORDS, max_size=3),
    "tag": st.sampled_from(["p", "b", "li"]),
    "html": st.sampled_from(["<p>x</p>", "<ul><li>y</ul>", "plain", ""]),
    "nothing": st.none(),
})  # fmt: skip


def by_walking(html: str, fields: dict[str, Any]) -> str:
    """The text of the HTML that a recipient gets."""
    return text_of_html(environment(escape=True).from_string(html).render(fields))


@pytest.mark.parametrize("html", TEMPLATES)
def test_a_template_that_allows_it_is_walked_once(html: str) -> None:
    assert TextOfHtml(html, {}).by_template


@pytest.mark.parametrize("html", SLOW_TEMPLATES)
def test_a_template_whose_fields_decide_what_the_html_is_is_not(html: str) -> None:
    assert text_template(html) is None


@given(st.sampled_from(TEMPLATES + SLOW_TEMPLATES), FIELDS)
def test_the_text_is_the_same_whether_the_template_or_the_html_is_walked(html: str, fields: dict[str, Any]) -> None:
    rendered = environment(escape=True).from_string(html).render(fields)
    assert TextOfHtml(html, {}).text(fields, rendered) == by_walking(html, fields)


@given(st.lists(st.lists(st.sampled_from(["\x01p", "\x01b", "\x01r", " ", "\n", "a", "\xa0"])).map("".join)))
def test_folding_pieces_first_changes_nothing(pieces: list[str]) -> None:
    assert settle("".join(map(fold, pieces))) == settle("".join(pieces))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_html_is_too_strange(html: str) -> None:
    text = text_of_html(html)
    assert text == "" or text.endswith("\n")
    assert "\n\n\n" not in text.replace("\x0b", "") or "pre" in html.lower()
