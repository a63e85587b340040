"""Templates of strangers: whatever they are, they end soon and reach nothing; and what templates expect is there."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from chats import USER

from jaxllama.text.chat import sandbox
from jaxllama.text.chat.sandbox import Template, TemplateError


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", "was stopped after"),
        ("{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n else '' }}{% endmacro %}{{ f(40) }}", "was stopped after"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurses without end"),
        ("{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "the chat template makes a text of"),
        ("{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "the chat template makes a text of"),
        ("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}", "more than"),
        ("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}", "more than"),
        ("{{ 'a' * 10000000000 }}", "the chat template makes a text of"),
        ("{{ ''.center(100000000000) }}", "the chat template calls .* for more than"),
        ("{{ '' | center(10000000000) }}", "the chat template calls .* for more than"),
        ("{{ '%0100000000d' % 3 }}", "formats a value to more than"),
        ("{{ '{:>10000000000}'.format(3) }}", "formats a value to more than"),
        ("{{ ('a' * 10000000) | replace('a', 'b' * 10000000) }}", "the chat template makes a text of"),
        ("{{ range(100000) | list | join('x' * 10000) }}", "the chat template makes a text of"),
        ("{{ 10000000000 * 'a' }}", "the chat template makes a text of"),
        ("{{ ([1] * 10000000 + [1] * 10000000) | length }}", "the chat template makes a text of"),
        ("{{ ((1,) * 10000000 + (1,) * 10000000) | length }}", "the chat template makes a text of"),
        ("{% set ns = namespace(x={'a': 1}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x }}", "more than"),
        ("{% set ns = namespace(x=[1]) %}{% for i in range(20) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x ~ '' }}", "more than"),
        ("{{ (['a' * 1000000] * 20) | tojson | length }}", "the chat template makes a text of"),
        ("{{ ('a' * 10000000).replace('a', 'b' * 10000000) }}", "the chat template makes a text of"),
        ("{{ ('a' * 10000000).join(range(10000) | map('string')) }}", "the chat template makes a text of"),
        ("{{ range(10000) | map('string') | join('a' * 10000000) }}", "the chat template makes a text of"),
        ("{{ (['a' * 10000000, 'b' * 10000000] | join) | length }}", "the chat template makes a text of"),
        ("{{ (('a' * 10000000) ~ ('b' * 10000000)) | length }}", "the chat template makes a text of"),
        ("{{ ('\\n' * 20000) | indent(5000) | length }}", "the chat template makes a text of"),
        ("{{ ('\\n' * 20000) | indent('x' * 5000) | length }}", "the chat template makes a text of"),
        ("{{ ''.ljust(width=100000) }}", "the chat template calls ljust for more than"),
        ("{{ '' | center(width=100000) }}", "the chat template calls center for more than"),
        ("{{ '%*d' % (10000000000, 3) }}", "formats a value to a width that it computes"),
        ("{{ '%(x) .*f' | format(10000000000, 3) }}", "formats a value to a width that it computes"),
        ("{{ '{:>{}}'.format(3, 10000000000) }}", "formats a value to a width that it computes"),
        ("{{ '{x:{y}}'.format_map({'x': 3, 'y': 10000000000}) }}", "formats a value to a width that it computes"),
        ("{{ ('%(x)s' * 1000) % {'x': 'a' * 100000} }}", "the chat template makes a text of"),
        ("{{ ('%s' * 2) | format('a' * 10000000, 'b' * 10000000) }}", "the chat template makes a text of"),
        ("{{ ('{0}' * 1000).format('a' * 100000) }}", "the chat template makes a text of"),
        ("{{ ('{x}' * 1000).format(x='a' * 100000) }}", "the chat template makes a text of"),
        ("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ '%s' % [ns.x] }}", "more than"),
        ("{{ ('\\t' * 2000000).expandtabs(10000) }}", "the chat template makes a text of"),
        ("{{ ('\\t' * 2000000).expandtabs(tabsize=10000) }}", "the chat template makes a text of"),
        ("{{ ('ab ' * 100000) | wordwrap(2, wrapstring='x' * 10000000) }}", "the chat template makes a text of"),
        ("{{ (range(10000) | list) | tojson(indent=10000) | length }}", "the chat template calls tojson for more than"),
        ("{{ '%100000d' | format(3) }}", "formats a value to more than"),
        ("{{ 'x{:>100000}'.format(3) }}", "formats a value to more than"),
        ("{{ lipsum(1) }}", "'lipsum' is undefined"),
        ("{% for i in messages.nothing.more %}{% endfor %}", "UndefinedError"),
        ("{{ 9 ** 9 ** 9 ** 9 }}", "may not use the operator"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.extend([1]) }}", "SecurityError"),
        ("{{ messages.insert(0, 1) }}", "SecurityError"),
        ("{{ messages.clear() }}", "SecurityError"),
        ("{{ messages[0].pop('role') }}", "SecurityError"),
        ("{% for i in messages %}{% set _ = messages.append(i) %}{% endfor %}", "the chat template was stopped after"),
        ("{% set x = [] %}{% set _ = x.append(x) %}{{ x }}", "more than"),
        ("{% set x = [] %}{% set _ = x.append(x) %}{{ x | tojson }}", "more than"),
        ("{% set x = [] %}{% set y = [x] %}{% set _ = x.append(y) %}{{ x == y }}", "recurses without end"),
        ("{{ x.y.z }}", "'x' is undefined"),
        ("{% if %}", "a syntax error in line 1"),
        ("{{ raise_exception('no') }}", "^no$"),
        ("{{ 1 + 'a' }}", "TypeError"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "recurses without end"),
        ("x" * 300_000, "characters: at most 262144 are allowed"),
    ],
)
def test_hostile_templates(monkeypatch, source, message):
    if "stopped" not in message:
        monkeypatch.setattr(sandbox, "SECONDS", 60)  # the clock of a busy machine must not be what stops the others
    start = time.process_time()
    with pytest.raises(TemplateError, match=message):
        Template(source).render(messages=[USER])
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("limits", "source"),
    [
        ({"MOST_STEPS": 10}, "{% for i in range(11) %}{% endfor %}"),
        ({"MOST_STEPS": 10}, "{% for i in range(11) | select('odd') %}{% for j in range(3) %}{% endfor %}{% endfor %}"),
        ({"MOST_STEPS": 10}, "{% macro f() %}{% endmacro %}{{ [" + "f(), " * 11 + "] | length }}"),
        ({"MOST_STEPS": 10}, "{{ [" + "1 + 1, " * 11 + "] | length }}"),
        ({"MOST_STEPS": 10}, "{{ [" + "1 | abs, " * 11 + "] | length }}"),
        ({"MOST_STEPS": 10}, "{{ [" + "'a' ~ 'b', " * 11 + "] | length }}"),
        ({"MOST_STEPS": 10}, "{{ x }}" * 11),
        ({"SECONDS": -1}, "x"),
    ],
)
def test_every_step_counts(monkeypatch, limits, source):
    """Steps and seconds are each a limit; no way to take steps is free."""
    for name, value in ({"MOST_STEPS": 10**6, "SECONDS": 60} | limits).items():
        monkeypatch.setattr(sandbox, name, value)
    made = Template(source)
    for _ in range(2):
        with pytest.raises(TemplateError, match="was stopped after"):
            made.render(x=1)
    monkeypatch.setattr(sandbox, "MOST_STEPS", 1000)
    monkeypatch.setattr(sandbox, "SECONDS", 60)
    made.render(x=1)  # each rendering counts anew


def test_lists_may_gain_and_lose_elements_and_are_the_renderings_own():
    """Kimi-K2-Instruct has a queue of ids."""
    queue = "{% set q = namespace(ids=[]) %}{% for c in calls %}{% set _ = q.ids.append(c.id) %}{% endfor %}"
    calls = [{"id": "a"}, {"id": "b"}]
    made = Template(queue + "{{ q.ids.pop(0) }}{{ calls.pop().id }}{{ calls | length }}")
    assert made.render(calls=calls) == made.render(calls=tuple(calls)) == "ab1"
    assert calls == [{"id": "a"}, {"id": "b"}]


def test_what_templates_expect():
    for source, expected in [
        ("{% for i in [1, 2, 3] | select('odd') %}{{ loop.index }}{{ i }}{% endfor %}", "1123"),
        ("{{ range(3) | map('string') | join(', ') }}{{ ','.join(['a', 'b']) }}{{ '-'.join('ab' | list) }}", "0, 1, 2a,ba-b"),
        ("{{ 'ab' * 2 }}{{ 2 * 'ab' }}{{ 'a' * -1 }}{{ 2 * 3 }}{{ [1] * 2 }}{{ [1] + [2] }}", "abababab6[1, 1][1, 2]"),
        ("{{ 'a\nb' | indent(2) }}{{ 'a\nb' | indent('>') }}{{ 'ab' | center(4) }}{{ 'ab'.ljust(4) }}|", "a\n  ba\n>b ab ab  |"),
        ("{{ '%02d' % 3 }}{{ '%s-%s' | format('a', 1) }}{{ '{:>3}'.format(1) }}{{ '{a}'.format(a=2) }}{{ '{0[a]}'.format({'a': 4}) }}", "03a-1  124"),
        ("{{ '%d * %d' % (20000, 3) }}{{ '%d' | format(20000) }}{{ '{{{}}} {a}'.format(1, a=2) }}", "20000 * 320000{1} 2"),
        ("{{ 'a\tb'.expandtabs(2) }}{{ 'ab cd' | wordwrap(2) }}{{ 'ab cd' | wordwrap(2, wrapstring='/') }}", "a bab\ncdab/cd"),
        ("{{ 'a' ~ 1 ~ none }}{{ ('a' ~ 'b') | upper }}{{ 'aa'.replace('a', 'b') }}{{ 'aa' | replace('a', 'c') }}", "a1NoneABbbcc"),
        ("{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}{{ x | dictsort }}{{ 7 % 4 }}{{ 1 + 2 }}", "b=1;a=2;[('a', 2), ('b', 1)]33"),
        ("{{ ('\n' * 2000) | indent('ab', true, true) | length }}", str(2 + 2000 * 3)),
    ]:
        assert Template(source).render(x={"b": 1, "a": 2}) == expected
    now = lambda: datetime(2026, 11, 21)  # noqa: E731
    assert Template("{{ strftime_now('%d %B %Y') }}", now).render() == "21 November 2026"
    assert Template("{{ x | tojson }}{{ x | tojson(indent=1) }}").render(x={"a": "ü<"}) == '{"a": "ü<"}{\n "a": "ü<"\n}'
    assert Template("{{ x | tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true) }}").render(x={"b": 1, "a": "ü"}) == '{"a":"\\u00fc","b":1}'
    assert Template("{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}").render() == "13"
    assert Template("a{% generation %}b{% endgeneration %}c").render() == "abc"
    assert Template("{% for m in messages %}\n  {% if loop.last %}{{ loop.length }}{% endif %}\n{% endfor %}").render(messages=[1, 2]) == "2"
    assert Template("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}").render() == "3"
