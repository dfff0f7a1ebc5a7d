#!/usr/bin/env python3
"""Writes chat.json: what Python's jinja2, set up as Hugging Face transformers sets it up, makes of chat templates.

    python tests/goldens/chat.py ../shared/data/templates tests/goldens/chat.json      (needs: pip install jinja2)

`templates`: for every *.jinja of the folder the outputs for each conversation, without and with generation prompt; null
where Python raises. To keep the file small an output is [prefix, text, suffix]: so many characters of the template's first
output from its start, then the text, then so many characters of the first output's end. `snippets`: small templates that
look into one difference between Python and other engines each.

The environment is written from the behaviour of transformers' `chat_template_utils.py`: sandboxed, trim_blocks,
lstrip_blocks, loop controls, a `generation` tag, its own `tojson`, `raise_exception` and `strftime_now`.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2025, 7, 4, 15, 6, 7)
BOS, EOS = "<s>", "</s>"


class Generation(jinja2.ext.Extension):
    """{% generation %} … {% endgeneration %}: the body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(source, messages, add_generation_prompt):
    """The text, or None where Python raises anything at all."""
    try:
        return environment().from_string(source).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=add_generation_prompt,
            bos_token=BOS, eos_token=EOS,
        )
    except Exception:  # noqa: BLE001 - whatever it raises, ours must be an error too
        return None


def turns(*texts, system=None):
    """Messages from texts that alternate between user and assistant."""
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


CONVERSATIONS = {
    "one turn": turns("Hello, who are you?"),
    "system": turns("Hello", system="You are terse."),
    "several turns": turns("Hi", "Hello! How can I help?", "What is 2 + 2?", "4", "Thanks"),
    "system and turns": turns("a", "b", "c", system="Answer with one letter."),
    "ends with the assistant": turns("Begin", "Once upon a time", system="Tell a tale."),
    "not ASCII": turns("Grüße, 你好! Ça va? 🦜🌱", "Schön 😀", "ещё раз\u00a0ok", system="Отвечай по-русски. Łódź"),
    "quotes and newlines": turns(
        "She said \"it's {{ not }} a {% tag %}\"\n\n\tand left \\ <b>&amp;</b>", "'single'\r\nline\n", "  padded  \n", system="Line 1\nLine 2\n"
    ),
    "thinking": turns("Why?", "<think>\nbecause of reasons\n</think>\n\nBecause.", "And now?", "<think></think>So."),
    "empty system": turns("Hello", system=""),
    "empty turns": turns("", "", "x"),
    "system late": turns("Hello", "Hi") + [{"role": "system", "content": "Now be rude."}, {"role": "user", "content": "Go on"}],
    "assistant first": [{"role": "assistant", "content": "Welcome"}, {"role": "user", "content": "Hello"}],
    "two users": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
    "unknown role": [{"role": "narrator", "content": "It rained."}, {"role": "user", "content": "Hello"}],
    "nothing": [],
}

SNIPPETS = [
    # Printing
    "{{ true }} {{ False }} {{ none }} {{ None }} {{ 1 }} {{ -3 }} {{ 1.0 }} {{ 1.5 }} {{ 1e16 }} {{ 1e15 }} {{ 1e-5 }} {{ 0.0001 }} {{ 100000000000000000000.0 }}",
    "{{ [1, 'a', none, true, 1.5, [2], (3,), (), (4, 5), {}, {'k': 'v', 2: 'x'}] }}",
    "{{ ['it\\'s', 'say \"x\"', 'both \\' and \"', 'tab\\t', 'nl\\n', 'é', 'back\\\\slash', '\\x01', '\\u200b', '😀'] }}",
    "{{ 'a' 'b' \"c\" }}", "{{ 'a\\u00e9\\x41\\101\\n\\q' }}", "{{ 'line \\\nbreak' }}", "{{ 1_000 + 0x1F + 0b11 + 0o17 }}",
    "{{ 1, 2 }}", "{{ undefined_thing }}|", "{{ undefined_thing.x }}", "{{ undefined_thing['x'] }}", "{{ messages.nope }}|{{ none.x }}|{{ 'abc'.x }}|{{ 3['x'] }}|",
    "{{ namespace(a=1) }}", "{{ 10 ** 25 }}", "{{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}",
    # Operators
    "{{ 'a' + 'b' }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 1 + 2.5 }} {{ true + 1 }} {{ 7 - 10 }} {{ 'ab' * 3 }} {{ 2 * [1, 2] }} {{ 'x' * -1 }}|",
    "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ 'a' + none }}", "{{ 'a' + undefined_thing }}", "{{ [1] + (2,) }}", "{{ 'a' - 'b' }}", "{{ none + none }}", "{{ {} + {} }}",
    "{{ 7 / 2 }} {{ 6 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.0 // 2 }} {{ 1 / 3 }} {{ 2 / 3 * 3 }}",
    "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1 ~ 'a' ~ none ~ true ~ 1.0 ~ [1] ~ undefined_thing }}",
    "{{ 1 + 2 ~ 3 * 2 }} {{ '%s is %d' % ('x', 3) }} {{ '%05.1f|%-4s|%4s' % (3.14159, 'a', 'b') }} {{ 'n=%s' % 5 }} {{ '100%%' % () }} {{ 'v: %s' % none }}",
    "{{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 'a' }} {{ [1, 2] == [1, 2] }} {{ (1,) == [1] }} {{ {'a': 1} == {'a': 1.0} }} {{ none == false }} {{ '' == none }} {{ undefined_thing == none }} {{ undefined_thing == undefined_other }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 }} {{ 2 >= 2.0 }} {{ 1 == 1 == 1 }}",
    "{{ 'a' < 1 }}", "{{ undefined_thing < 1 }}", "{{ none < 1 }}", "{{ [1] < (2,) }}",
    "{{ 'b' in 'abc' }} {{ 1 in [1.0] }} {{ 'k' in {'k': 1} }} {{ 'x' not in ['y'] }} {{ '' in 'a' }} {{ 'a' in undefined_thing }} {{ 'a' in ('a',) }}",
    "{{ 1 in 'abc' }}", "{{ 'a' in none }}", "{{ 'a' in 5 }}", "{{ none in 'abc' }}",
    "{{ 1 and 2 }} {{ 0 or 'x' }} {{ not '' }} {{ [] or {} }} {{ none and 1 }} {{ not 1 == 2 }} {{ not not 3 }} {{ 'a' and '' or 'b' }}",
    "{{ 'y' if 1 else 'n' }} {{ 'y' if 0 }}| {{ 1 if true else 2 if false else 3 }} {{ 'a' if none else 'b' }}",
    "{{ -1 + +2 }} {{ - - 3 }} {{ -5|abs }} {{ -'5' }}", "{{ -5|abs }} {{ (-5)|abs }} {{ 3 - -3 }} {{ -messages|length }}",
    # Subscripts and slices
    "{{ 'héllo'[1] }} {{ 'abc'[-1] }} {{ [1, 2, 3][-1] }} {{ [1][5] }}| {{ (1, 2)[0] }} {{ {'a': 1}.a }} {{ {'a': 1}['a'] }} {{ {1: 2}[1] }} {{ 'abc'[9] }}|{{ [1, 2].0 }}",
    "{{ 'héllo'[1:3] }} {{ 'abc'[::-1] }} {{ [1, 2, 3, 4][1:] }} {{ [1, 2, 3, 4][:-1] }} {{ [1, 2, 3, 4][::2] }} {{ [1, 2, 3, 4][-2:] }} {{ (1, 2, 3)[1:] }} {{ [1, 2, 3][5:] }} {{ [1, 2, 3][2:0:-1] }} {{ [1, 2, 3, 4][-100:100] }} {{ 'abc'[:] }} {{ [0, 1, 2, 3, 4, 5][4:1:-2] }} {{ [1, 2][::-1] }}",
    "{{ tools[1:] }}", "{{ undefined_thing[1:] }}", "{{ add_generation_prompt[1:] }}", "{{ [1, 2][::0] }}", "{{ messages[0][1:] }}",
    "{{ 'abc' % 1 }}", "{{ 'a%%b%s' % 'x' }}{{ 'abc' % {} }}{{ 'abc' % [1] }}", "{{ '%s' % (1, 2) }}", "{{ 1 if 2 is odd if 3 else 4 }}", "{{ 1 is string in [1] }}", "{{ 5|indent }}", "{{ 'In 20245: %s, {}' % 'x' }} {{ 'In 20245: {}'.format(1) }}", "{{ 12|string is lower }} {{ [1, 'a']|string is lower }} {{ namespace() is sequence }}", "{{ (1, 2).copy() }}", "{{ undefined_thing|int }}", "{{ undefined_thing|float }}", "{{ 0|select|list }}{{ true|abs }}{{ none|map('upper')|list }}", "{{ none|unique|list }}", "{{ 5|sort }}", "{{ namespace()|list }}",
    "{% set d = {'items': 3, 'b': 2} %}{{ d['items'] }} {% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}{% for k in d %}{{ k }};{% endfor %}{{ d.keys() | list }} {{ d.values() | list }} {{ d.get('b') }} {{ d.get('z') }} {{ d.get('z', 7) }} {{ d | length }}",
    "{{ {'b': 1, 'a': 2, 'C': 3} | dictsort }} {{ {'b': 1, 'a': 2} | items | list }} {{ {'b': 1} | list }} {{ dict(x=1, y='z') }} {{ {'a': 1, 'a': 2} }}",
    "{{ [1].append(2) }}", "{{ {'a': 1}.update({'b': 2}) }}", "{{ {'a': 1}.pop('a') }}", "{{ 'abc'.nope() }}", "{{ none.strip() }}", "{{ [1].copy() }} {{ [1, 2, 1].count(1) }} {{ ['a', 'b'].index('b') }}", "{{ [1].index(9) }}",
    # String methods
    "[{{ '  a b '.strip() }}][{{ '  a '.lstrip() }}][{{ '  a '.rstrip() }}][{{ 'xxaxx'.strip('x') }}][{{ 'abcba'.lstrip('ab') }}][{{ '\\n\\u00a0a\\u3000'.strip() }}][{{ '\\x1ca'.strip() }}]",
    "{{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b '.split() }} {{ 'abc'.split('x') }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(maxsplit=1) }} {{ 'a--b'.split(sep='--') }} {{ 'aXbX'.split('X')[-1] }}|",
    "{{ 'a'.split('') }}", "{{ 'a\\nb\\r\\nc\\n'.splitlines() }} {{ 'a\\n\\nb'.splitlines(true) }} {{ 'x'.splitlines() }} {{ ''.splitlines() }} {{ 'a\\x0bb\\u2028c'.splitlines() }}",
    "{{ 'aaa'.replace('a', 'b') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('b', '') }}",
    "{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('c') }} {{ 'abc'.startswith('') }} {{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'héc'.find('c') }} {{ 'abca'.rfind('a') }} {{ 'abc'.index('b') }} {{ 'aXbXc'.count('X') }}",
    "{{ 'abc'.startswith(['a']) }}", "{{ 'abc'.index('z') }}", "{{ 'abc'.startswith(none) }}",
    "{{ 'aBc'.upper() }} {{ 'aBc'.lower() }} {{ 'hello world-x'.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ 'aBc'.swapcase() }} {{ 'ß'.upper() }} {{ 'ab'.isalpha() }} {{ '12'.isdigit() }} {{ ''.isdigit() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'A'.isupper() }} {{ 'a'.islower() }} {{ '1'.isnumeric() }}",
    "{{ '-'.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '42'.zfill(5) }} {{ 'a'.center(5) }}| {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '*') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }}",
    "{{ ','.join([1, 2]) }}", "{{ '{} {}'.format('a', 1) }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=5) }} {{ '{:>5}|{:<5}|{:^5}|{:05.2f}'.format('a', 'b', 'c', 3.14159) }} {{ '{{}}'.format() }}",
    # Filters
    "{{ ' a '|trim }}|{{ 'xax'|trim('x') }} {{ 'a'|upper }} {{ 'A'|lower }} {{ 'hello world'|title }} {{ 'hELLO'|capitalize }} {{ [1, 2, 3]|length }} {{ 'abc'|length }} {{ {}|count }} {{ undefined_thing|length }}",
    "{{ 5|length }}", "{{ none|length }}", "{{ none|trim }} {{ 5|trim }} {{ none|upper }} {{ undefined_thing|trim }}|",
    "{{ undefined_thing|default('d') }} {{ none|default('d') }} {{ ''|default('d') }} {{ ''|default('d', true) }} {{ none|d('x', boolean=true) }} {{ undefined_thing|default }}|",
    "{{ [1, 2]|join(', ') }} {{ ['a', none, true]|join }} {{ 'abc'|join('-') }} {{ [{'a': 1}, {'a': 2}]|join(',', attribute='a') }} {{ []|join(',') }}|",
    "{{ 'aXbX'|replace('X', '-') }} {{ 'aXbX'|replace('X', '-', 1) }} {{ 5|replace('5', 6) }} {{ 'abc'|first }} {{ [1, 2]|last }} {{ []|first }}| {{ 'abc'|last }} {{ [3, 1, 2]|sort }} {{ ['b', 'A', 'c']|sort }} {{ ['b', 'A']|sort(case_sensitive=true) }} {{ [1, 2, 3]|reverse|list }} {{ 'abc'|reverse }} {{ [3, 1]|sort(reverse=true) }}",
    "{{ [1, 2, 2, 3, 1]|unique|list }} {{ [1, 2, 3]|sum }} {{ [1, 5, 3]|max }} {{ [4, 2]|min }} {{ 3.7|round }} {{ 3.14159|round(2) }} {{ 3.2|round(0, 'ceil') }} {{ '42'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ 3.9|int }} {{ '3.5'|float }} {{ 5|float }} {{ 5|string }} {{ [1]|string }} {{ none|string }} {{ -5|abs }}",
    "{{ [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]|map(attribute='a')|list }} {{ ['a', 'b']|map('upper')|list }} {{ ['a', 'b']|map('replace', 'a', 'z')|list }} {{ [1, 2, 3, 4]|select('odd')|list }} {{ [1, 2, 3]|reject('equalto', 2)|list }} {{ [0, 1, '', 'a']|select|list }} {{ [{'x': 1}, {'x': 0}, {}]|selectattr('x')|list }} {{ [{'x': 1}, {'x': 2}]|selectattr('x', 'eq', 2)|list }} {{ [{'x': 1}, {}]|rejectattr('x', 'defined')|list }} {{ [{'x': 1}, {}]|map(attribute='x', default=9)|list }}",
    "{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 0)|list }} {{ range(7)|slice(3)|list }} {{ [{'k': 1, 'v': 'a'}, {'k': 2, 'v': 'b'}, {'k': 1, 'v': 'c'}]|groupby('k')|length }} {{ 'a b c'|wordcount }} {{ 'abc'|list }} {{ range(3)|list }} {{ range(1, 10, 3)|list }} {{ range(5, 0, -2)|list }}",
    "{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent(2, blank=true) }}|{{ 'a\\nb'|indent('> ') }}|{{ 'a'|center(5) }}|{{ '%s-%s'|format('a', 1) }}|{{ '<a href=\"x\">&\\'</a>'|e }}|{{ '<b>'|safe }}",
    "{{ {'a': [1, 2.0, none, true, 'é\"\\n\\t\\\\/'], 'b': {}, 'c': []}|tojson }}", "{{ {'a': [1, {'b': 2}], 'e': [], 'f': {}}|tojson(indent=2) }}", "{{ {'b': 1, 'a': 'é😀'}|tojson(ensure_ascii=true, sort_keys=true) }}", "{{ [1, 2]|tojson(separators=(',', ':')) }} {{ {1: 2, none: 4, 1.5: 5}|tojson }} {{ 'x'|tojson }} {{ none|tojson }} {{ '\\x7f\\x01\\u2028<>&'|tojson }} {{ 1e20|tojson }} {{ (1, 2)|tojson }}",
    "{{ undefined_thing|tojson }}", "{{ namespace()|tojson }}", "{{ [1]|tojson(indent='--') }}", "{{ 'x'|no_such_filter }}", "{% if false %}{{ 'x'|no_such_filter }}{% endif %}ok", "{% if true %}{{ 'x'|no_such_filter }}{% endif %}ok", "{% if false %}{% for a in [1] %}{{ 'x'|no_such_filter }}{% endfor %}{% endif %}ok", "{{ 'y' if true else ('x'|no_such_filter) }}", "{% macro f() %}{{ 1 is no_such_test }}{% endmacro %}ok", "{% if false and 1 is no_such_test %}{% endif %}ok",
    # Tests
    "{% for x in [1, 1.5, 'a', none, true, [1], (1,), {'a': 1}, undefined_thing] %}{{ x is defined }},{{ x is none }},{{ x is boolean }},{{ x is integer }},{{ x is float }},{{ x is number }},{{ x is string }},{{ x is sequence }},{{ x is iterable }},{{ x is mapping }},{{ x is true }},{{ x is callable }}\n{% endfor %}",
    "{{ range(3) is iterable }} {{ raise_exception is callable }} {{ raise_exception is defined }} {{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is ne(2) }} {{ 1 is lt 2 }} {{ 2 is gt 1 }} {{ 1 is in [1, 2] }} {{ 'a' is lower }} {{ 'A' is upper }} {{ none is sameas none }} {{ 1 is not string }} {{ undefined_thing is not defined }} {{ undefined_thing is undefined }} {{ 1 is equalto 1 and 2 is even }} {{ false is false }} {{ 'x' is filter }} {{ 'upper' is filter }} {{ 'odd' is test }}",
    "{{ 'a' is odd }}", "{{ not 1 is string }} {{ 1 is string or true }} {{ messages is defined and messages is iterable }}",
    # Statements and scopes
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}", "{% set ns = namespace(x=1, y='a') %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }} {{ ns.y }} {{ ns.z }}|", "{% set a = namespace(x=1) %}{% set b = namespace(a=a, n='b') %}{% set a.x = 2 %}{{ b.a.x }} {{ b.n }} {{ b }}", "{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set (c, d) = [3, 4] %}{{ c }}{{ d }}", "{% set a, b = [1] %}", "{% set x %}  block {{ 1 + 1 }} {% endset %}[{{ x }}]{% set y | upper | trim %} abc {% endset %}[{{ y }}]", "{% set x.y = 1 %}", "{% set d = {} %}{% set d.y = 1 %}",
    "{% for x in [1, 2, 3] %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ loop.previtem }}|{{ loop.nextitem }}|{{ loop.cycle('a', 'b') }} {{ loop.depth }};{% else %}none{% endfor %}", "{% for x in [] %}x{% else %}empty{% endfor %}", "{% for x in undefined_thing %}x{% else %}empty{% endfor %}", "{% for x in none %}x{% endfor %}", "{% for x in 5 %}x{% endfor %}", "{% for c in 'abc' %}{{ c }}.{% endfor %}{% for c in {'a': 1} %}{{ c }}{% endfor %}",
    "{% for x in [1, 2, 3, 4] if x is even %}{{ loop.index }}:{{ x }} of {{ loop.length }} {% endfor %}", "{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for a, b in [(1, 2), (3, 4)] %}{{ a }}-{{ b }} {% endfor %}{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [1] %}x{% endfor %}", "{% for x in [[1, [2]], 3] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }} {% endfor %}", "{% for i in [1, 2] %}{% for j in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}", "{{ loop }}|", "{% break %}",
    "{% macro f(a, b=2, c='x') %}[{{ a }} {{ b }} {{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(b=5, a=4) }}{{ f() }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(z=2) }}", "{% macro f(x) %}{{ caller(x) }}{% endmacro %}{% call(y) f(3) %}<{{ y }}>{% endcall %}", "{% set g = 1 %}{% macro f() %}{{ g }}{% endmacro %}{{ f() }}{% set g = 2 %}{{ f() }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro f(x) %}{% set x = x + 1 %}{{ x }}{% endmacro %}{{ f(1) }} {% set r = f(2) %}{{ r|int + 1 }} {{ r is string }} {{ f is callable }}", "{% macro outer() %}{% macro inner() %}in{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}", "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(3) }}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}|", "{% filter upper %}abc {{ 'd' }}{% endfilter %}", "{% filter replace('a', 'b') | trim %} aaa {% endfilter %}", "{% raw %}{{ x }} {% if %}{% endraw %} {{ 1 }}", "{% generation %}{% set q = 1 %}a{{ q }}{% endgeneration %}{{ q }}|", "{% for m in [1, 2] %}{% generation %}{{ loop.index }}{{ m }}{% endgeneration %}{% endfor %}",
    "{% do 1 %}", "{% nonsense %}", "{% if %}", "{{ 1 + }}", "{{", "{% if true %}", "{{ 'a }}", "{# open", "{% endif %}", "{% for x in [1] %}{% endif %}{% endfor %}", "{{ a b }}", "{{ 1 ! 2 }}", "{{ (1 }}", "{% set 1 = 2 %}", "{{ f(a=1, 2) }}", "{% raw %}x", "{% include 'x' %}", "{{ raise_exception('no') }}", "{{ no_such_function() }}", "{{ 'a'() }}", "{% set true = 1 %}", "{{ x is }}", "{% macro f(a=1, b) %}{% endmacro %}", "{{ a.1.b }}|",
    "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %y %a %p %I %%') }}",
    "{{ messages[0]['role'] }} {{ messages[0].content }} {{ messages[-1].role }} {{ messages|length }} {{ messages[1:]|length }} {{ messages|map(attribute='role')|join(',') }} {{ (messages|last).content }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ 'tool_calls' in messages[0] }} {{ messages[0].tool_calls is defined }} {{ messages[0].get('name', 'anon') }} {{ bos_token }}{{ eos_token }} {{ tools is none }} {{ documents }} {{ tools is defined }} {{ add_generation_prompt }}",
    # White space
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%+ if true %}\n  b\n  {%- endif %}\nc\n\n", "  {{ 1 }}  \n  {# note #}\n x {# note #} y\n", "a {%- if true -%} b {%- endif -%} c", "a\n{{- 1 -}}\n b", "x{% if true +%}\ny{% endif %}\n\nz", "{#- c -#}\n\n x", "a\r\nb\rc\n{{ 'x\r\ny' }}", "{% if true %}\n\n  a{% endif %}", " {% raw %} a {% endraw %} b\n", "{%- raw -%}  a  {%- endraw -%}  b", "a\n\t {% set x = 1 %}\t\nb", "a \n  {%- set x = 1 %} b\n", "{% if true %}a{% endif %}\n{% if true %}b{% endif %}\n", "   {% set x = 1 %}   {% set y = 2 %}\nz", "\u00a0{% set x = 1 %}\na\u00a0\n\u00a0{% set x = 1 %}\nb", "{{ {'a': {'b': 1}}['a']['b'] }}{{ {} }}", "{{ '}}' }}{{ '%}' }}{% if '%}' %}x{% endif %}", "{{ ''' }}", "{{ \"{{\" }} {{ '{%' }} { { } }", "{%if true%}x{%endif%}", "{# a {{ b }} {% c %} #}d",
]


def delta(text, first):
    """[prefix, middle, suffix] of `text` against `first`."""
    prefix = 0
    while prefix < min(len(text), len(first)) and text[prefix] == first[prefix]:
        prefix += 1
    suffix = 0
    while suffix < min(len(text), len(first)) - prefix and text[-1 - suffix] == first[-1 - suffix]:
        suffix += 1
    return [prefix, text[prefix : len(text) - suffix], suffix]


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    templates = {}
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_bytes().decode()
        first, outputs = "", []
        for messages in CONVERSATIONS.values():
            for add_generation_prompt in (False, True):
                text = render(source, messages, add_generation_prompt)
                outputs.append(None if text is None else delta(text, first))
                first = first or text or ""
        templates[path.name] = outputs
    talk = CONVERSATIONS["system and turns"]
    golden = {
        "jinja2": jinja2.__version__,
        "now": NOW.isoformat(),
        "bos_token": BOS,
        "eos_token": EOS,
        "conversations": [[[m["role"], m["content"]] for m in messages] for messages in CONVERSATIONS.values()],
        "templates": templates,
        "snippets": [[source, render(source, talk, True)] for source in SNIPPETS],
        "snippet_conversation": list(CONVERSATIONS).index("system and turns"),
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in golden.items() if key not in ("templates", "snippets")]
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(outputs, ensure_ascii=False)}" for name, outputs in templates.items())
    lines.append(f'"templates": {{\n{rows}\n}}')
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in golden["snippets"])
    lines.append(f'"snippets": [\n{rows}\n]')
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
