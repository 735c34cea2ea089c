"""Prints chat templates, contexts and what jinja2 under transformers' settings makes of them: one JSON object a line."""
import json
import sys
import unicodedata

from transformers.utils.chat_template_utils import _compile_jinja_template

MESSAGES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "  Hi <there> & 'you'\n"},
    {"role": "assistant", "content": "Grüße, 世界! 👋🏽", "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, None, True], "c": "x\"y\n"}}}]},
    {"role": "tool", "content": "3.5", "name": "add"},
    {"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "image"}, {"type": "text", "text": "part two"}]},
]
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {
    "type": "object", "properties": {"a": {"type": "number", "description": "left"}, "b": {"type": "array"}}, "required": ["a"]}}}]
CONTEXT = {"messages": MESSAGES, "tools": TOOLS, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
           "numbers": [3, 1, 2, 1], "words": ["pear", "Apple", "fig", "apple"], "n": 7, "x": 2.5, "big": 1e22, "tiny": 1e-7,
           "text": "The quick brown fox jumps", "nothing": None, "yes": True, "no": False, "empty": "", "dict": {"b": 1, "a": 2, "items": 5},
           "people": [{"name": "Ann", "age": 30, "city": "Rome"}, {"name": "bob", "age": 25, "city": "Oslo"}, {"name": "Cy", "age": 30}],
           "html": "<b>bold</b> & more", "lines": "one\ntwo\n\nthree", "nested": {"a": {"b": [10, {"c": "deep"}]}}}

# Whole templates in the manner of those that come with models; our own.
TEMPLATES = [
    # ChatML
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text if part.type == 'text' else '<image>' }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    # instructions in brackets, with a system message folded in and alternation checked
    "{%- if messages[0]['role'] == 'system' -%}\n  {%- set system_message = messages[0]['content'] | trim -%}\n"
    "  {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n  {%- set loop_messages = messages -%}\n{%- endif -%}\n{{ bos_token }}\n"
    "{%- for message in loop_messages %}\n    {%- if message['role'] == 'user' and message.content is string %}\n"
    "        {{- '[INST] ' + (system_message ~ '\\n\\n' if loop.first and system_message is defined else '') + message['content'] | trim + ' [/INST]' -}}\n"
    "    {%- elif message.role == 'assistant' %}\n        {{- ' ' + message.content + eos_token -}}\n    {%- endif %}\n{%- endfor %}",
    # tools as JSON, a namespace across loops, macros
    "{%- macro describe(tool, depth=0) -%}\n{{ '  ' * depth }}- {{ tool.function.name }}: {{ tool.function.description }}\n"
    "{%- for name, spec in tool.function.parameters.properties | dictsort %}\n{{ '  ' * (depth + 1) }}{{ name }} ({{ spec.type }}"
    "{{ ', required' if name in tool.function.parameters.required }})\n{%- endfor -%}\n{%- endmacro -%}\n"
    "{%- set ns = namespace(last=-1, calls=0) -%}\n{%- for m in messages -%}\n{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}\n"
    "{%- for call in m.tool_calls or [] -%}{%- set ns.calls = ns.calls + 1 -%}{{ call.function | tojson }}{{ call.function.arguments | tojson(indent=2) }}{%- endfor -%}\n"
    "{%- endfor -%}\nlast={{ ns.last }} calls={{ ns.calls }}\n{% for tool in tools %}{{ describe(tool) }}\n{{ describe(tool, depth=2) }}{% endfor %}",
    "{% set ns = namespace(found=false) %}{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }} {{ loop.revindex }} {{ loop.first }} {{ loop.last }}\n"
    "{% if m.role == 'tool' %}{% set ns.found = true %}{% continue %}{% endif %}{% if ns.found %}{% break %}{% endif %}{{ loop.previtem.role if loop.previtem is defined else '-' }}{% else %}none{% endfor %}|{{ ns.found }}",
    "{% generation %}{{ messages[2].content }}{% endgeneration %}\n{% if not tools %}no{% else %}{{ tools | length }}{% endif %}",
    "{% for k, v in nested.items() recursive %}{{ k }}{% if v is mapping %}({{ loop(v.items()) }}){% else %}={{ v }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% call(item) outer() %}<{{ item }}>{% endcall %}",
    "{% macro outer() %}[{{ caller('a') }}{{ caller('b') }}]{% endmacro %}{% call(item) outer() %}<{{ item }}>{% endcall %}",
    "{% macro m(a, b=2, c=a_default) %}{{ a }}-{{ b }}-{{ c is defined }}-{{ varargs }}-{{ kwargs }}{% endmacro %}{{ m(1) }} {{ m(1, 3, 4, 5, 6) }} {{ m(1, z=9) }} {{ m(b=5) }}",
    "{% set a, b = (1, 2) %}{{ b }}{{ a }}{% set c %}block {{ a }}{% endset %}{{ c }}{% set d | upper | replace('X', 'y') %}xa{% endset %}{{ d }}",
    "{% set v = 1 %}{% for i in [1, 2] %}{% set v = v + i %}{{ v }}{% endfor %}{{ v }}{% if true %}{% set v = 9 %}{% endif %}{{ v }}{% with v = 5, w = v %}{{ v }}{{ w }}{% endwith %}{{ v }}",
    "{% filter upper | trim %}  some text {% endfilter %}|",
    "{% raw %}{{ not rendered }} {% if %}{% endraw %}|{#- comment -#}   {# another #}\nline\n  {# indented #}\nend",
    "  {% if true %}\n    indented\n  {% endif %}\n  {%+ if true %}kept{% endif +%}\n\n{%- if true -%}\n  stripped  \n{%- endif %}\n",
    "a\n\n  {{- ' b ' -}}  \n c {{ 'd' }}\n\n",
    "{% for i in range(3) %}\n{{ i }}\n{% endfor %}\n",
    "{{ raise_exception('bad roles: ' + messages[0].role) }}",
    "{{ nothing.attribute }}", "{{ undefined_name.attribute }}", "{{ undefined_name }}|{{ undefined_name is defined }}",
    "{{ undefined_name + 'x' }}", "{{ 'a' + 1 }}", "{{ messages[99] }}|{{ messages[99].role }}", "{{ 1 / 0 }}", "{{ text.nope() }}",
    "{{ numbers.append(4) }}", "{{ dict.update({'z': 1}) }}", "{{ ''.__class__ }}", "{% for i in 5 %}{% endfor %}",
    "{% for %}", "{{ }}", "{% if x %}", "{{ 'open }}", "{% endfor %}", "{% unknown %}", "{{ a b }}", "{{ (1, 2 }}", "{% include 'x' %}",
    "{{ dict.items }}"[:0] + "{{ dict['items'] }} {{ dict.a }} {{ dict.get('q', 'none') }} {{ dict.keys() | list }} {{ dict.values() | list }}",
    "{% block title %}in a block{% endblock %} {% autoescape false %}<{{ html }}>{% endautoescape %}",
    "{% for a, (b, c) in [[1, [2, 3]], [4, [5, 6]]] %}{{ a }}{{ b }}{{ c }} {% endfor %}",
    "{% for x in words %}{{ loop.cycle('odd', 'even') }}{{ loop.changed(x | lower) }} {% endfor %}",
    "{% for n in [1, 2] %}{% block inner %}{{ n }}{{ loop is defined }}{% endblock %}{% endfor %}", "{% for n in [1] %}{% block inner scoped %}{{ n }}{% endblock %}{% endfor %}",
    "{% set n = 5 %}{% macro m(n) %}{% block inner %}{{ n }}{% endblock %}{% endmacro %}{{ m(1) }}", "{% block a %}{% set n = 6 %}{{ n }}{% endblock %}{{ n }}",
    "{% if 5[1:] %}a{% endif %}", "{% set v = 5[1:] %}{{ v is defined }}", "{% for v in 5[1:] %}{% else %}none{% endfor %}", "{% if 5[1:] is undefined %}a{% endif %}", "{% print 5[1:] %}|",
    "{% macro m(v=5[1:] | default('d')) %}{{ v }}{{ 5[1:] }}{% endmacro %}{{ m() }}", "{% macro m(v=5[1:]) %}{{ v }}{% endmacro %}{{ m() }}", "{% filter replace('a', 5[1:] | default('b')) %}banana{% endfilter %}",
    "{% set outer = [] %}{% for a in [1, 2] %}{% set first = loop %}{% for b in [1, 2] %}{{ first.index }}.{{ loop.index }} {% endfor %}{% endfor %}",
]

EXPRESSIONS = """
1 + 2 * 3 - 4 / 2 // 1 % 3 ** 2|7 // 2|-7 // 2|-7 % 3|7 % -3|7.5 // 2|-7.5 % 2|2 ** 10|2 ** -1|2 ** 0.5|10 / 4|1_000 + 0x1F + 0b101 + 0o17|1e3|1.5e-7|.5 if no else 2.0
1 < 2 < 3|1 < 2 > 3|1 == 1.0|'a' == 'a'|'a' < 'b'|[1, 2] < [1, 3]|none == nothing|yes and no or 'z'|not yes|not not n|yes is true|1 is true
'a' in 'abc'|'z' not in 'abc'|3 in numbers|'b' in dict|n is in [7, 8]|'x' ~ 1 ~ none ~ 1.0 ~ true|'ab' * 3|[0] * 3|(1,) * 2|'%s-%d-%05.2f-%x' % ('a', 3, 2.345, 255)|'%(a)s' % {'a': 1}
numbers|words|dict|nested|(1,)|(1, 2)|()|{}|[]|{'a': 1, 2: 'b', none: [1]}|'it\\'s'|["it's", 'say "hi"', 'both \\' "', 'tab\\t', 'nl\\n', 'é', '\\u200b']|1.0|x|big|tiny|100000000000000000.0|0.1 + 0.2|1e16|1e15|123456789.125|-0.0
text[0]|text[-1]|text[4:9]|text[::-1]|text[::2]|text[:-6]|text[99]|'世界👋'[1]|'世界👋'[::-1]|'世界👋' | length|numbers[1:]|numbers[::-1]|numbers[-2:]|(1, 2, 3)[1:]|numbers[5:]|words[0][0]|text['a':]
[1, 2][-1][::-1]|[1, 2][-1][::-1] ~ n|none[1:] | default('d')|(none[1:] | default('d')) ~ n|{'a': 1}[:1]|n[::-1]|none[:]|dict[1:]|'abc'['x':]|'abc'[1.5:]|'abc'[none:2]|[][0][1:]|[1][0][:] is defined|[1][0][:] is defined and n|not 5[1:]|(5[1:], 2)|[5[1:]] | length|(5[1:] if true else n)|5[1:] if true|(5[1:] if false else n)|5[1:] or n|[5[1:]] | map('string') | list|'abc'[::0]|5[1:].x|5[1:] | list|5[1:] == 5[2:]|(5[1:] == 5[2:]) ~ text|5[n:]|yes | round|yes | round(1)|no | round(-1)|yes | round(1, 'ceil')|[missing, absent] | sort|[missing, 1] | sort|[dict, dict] | sort | length|[nothing, nothing] | sort(reverse=true)|[nothing, 1] | sort|people | sort(attribute='zz') | length|people | groupby('zz') | list|people | sort(attribute='zz,age') | map(attribute='age') | list|dict.items() in dict|dict.keys() in dict|dict.values() in dict|(1, [2]) in dict|(1, (2, 3)) in dict|{(1, [2]): 3}|range(3) in dict|true and 5[1:]|5[1:] | length ~ n|(5[1:] | length) ~ n
nested.a.b[1].c|nested['a']['b'][0]|nested.a.b.1.c|nested.a.zz is defined|nested.a.zz.y is defined
text | upper|text | lower|text | title|text | capitalize|text | length|text | wordcount|'  a b ' | trim|'xxaxx' | trim('x')|text | replace('quick', 'slow')|text | replace('o', '0', 1)|text | truncate(12)|text | truncate(12, true)|text | truncate(12, true, '..', 0)|text | center(31)|text | reverse|text | first|text | last|text | list
numbers | sort|numbers | sort(reverse=true)|words | sort|words | sort(case_sensitive=true)|people | sort(attribute='age') | map(attribute='name') | list|people | sort(attribute='age,name') | map(attribute='name') | join(',')|numbers | unique | list|words | unique | list|words | unique(true) | list|numbers | sum|people | sum(attribute='age')|numbers | sum(start=10)|numbers | min|numbers | max|words | min|[] | max is defined|people | max(attribute='age')
numbers | join('-')|people | join(', ', attribute='name')|words | map('upper') | list|words | map('replace', 'p', 'q') | list|people | map(attribute='city', default='?') | list|numbers | select('odd') | list|numbers | reject('odd') | list|numbers | select('gt', 1) | list|people | selectattr('age', 'equalto', 30) | map(attribute='name') | list|people | rejectattr('city', 'defined') | map(attribute='name') | list|people | selectattr('city') | list | length|words | select('in', ['fig']) | list
people | groupby('age') | list|people | groupby('city', default='nowhere') | map(attribute='0') | list|numbers | batch(3) | list|numbers | batch(3, 'x') | list|numbers | slice(3) | list|numbers | slice(3, 'x') | list|dict | dictsort|dict | dictsort(by='value')|dict | dictsort(reverse=true)|dict | items | list|dict | length
none | default('d')|undefined_name | default('d')|'' | default('d', true)|undefined_name | d|no | default('x', boolean=true)|'42' | int|'4x' | int|'4x' | int(9)|'0x1A' | int(0, 16)|'3.9' | int|3.9 | int|'1.5' | float|'z' | float(2.5)|'1e3' | float|n | string|[1, 'a'] | string|-3 | abs|-2.5 | abs|2.567 | round(2)|2.5 | round|3.5 | round|2.4 | round(method='ceil')|2.6 | round(0, 'floor')|42.55 | round(1)|1234 | round(-2)|7 | round
html | e|html | escape|html | striptags|html | safe|'a b&c=d/é' | urlencode|{'a b': 'c&d', 'e': 1} | urlencode|lines | indent|lines | indent(2, true)|lines | indent(2, blank=true)|lines | indent('> ')|'{}' | format|'%s=%s' | format('a', 1)|'%(k)s' | format(k='v')
text.split()|text.split(' ', 1)|'a,b,,c'.split(',')|'a,b,c'.rsplit(',', 1)|' a  b '.split()|' a  b '.split(none, 1)|lines.splitlines()|lines.splitlines(true)|text.startswith('The')|text.startswith(('x', 'T'))|text.endswith('s')|text.find('q')|text.find('zz')|text.index('quick')|text.count('o')|text.upper()|text.lower()|text.title()|"it's o'clock".title()|text.capitalize()|text.swapcase()|text.replace('The', 'A')|' x '.strip() ~ '|'|' x '.lstrip() ~ '|'|' x '.rstrip() ~ '|'|'xxyxx'.strip('x')|'-'.join(words)|'a-b-c'.partition('-')|'a-b-c'.rpartition('-')|'abc'.partition('-')|'ab'.ljust(5) ~ '|'|'ab'.rjust(5, '.')|'ab'.center(5, '*')|'abc'.center(6, '*')|'-5'.zfill(4)|'7'.zfill(3)|'prefix_x'.removeprefix('prefix_')|'x_suffix'.removesuffix('_suffix')|'abc'.isalpha()|'123'.isdigit()|'a1'.isalnum()|' '.isspace()|'ABC'.isupper()|'abc'.islower()|''.isdigit()|'{} {1}'.format(1)|'{} and {}'.format('a', 2)|'{0}{1}{0}'.format('a', 'b')|'{x:>5}|{y:<4}|{z:^5}|'.format(x=1, y='a', z='b')|'{:05d} {:.3f} {:+d} {:x}'.format(42, 3.14159, 5, 255)|'{a[b]}'.format(a={'b': 1})|'{{}}'.format()|'ſ'.upper()|'straße'.upper()|'İ'.lower()|'ΑΣ'.lower()
numbers.index(2)|numbers.count(1)|(1, 2).index(2)|dict.items() | list|dict.get('a')|dict.get('zz')|dict.copy()
messages | tojson|tools | tojson(indent=4)|dict | tojson(sort_keys=true)|[1, 2.0, none, true, 'é\\u2028</script>'] | tojson|'é👋' | tojson(ensure_ascii=true)|[1, [2]] | tojson(separators=(',', ':'))|{} | tojson(indent=2)|[] | tojson(indent=2)|{'a': {}} | tojson(indent=1)|{1: 2, none: 3, true: 4} | tojson|undefined_name | tojson|big | tojson|'\\x7f\\x00\\x1f' | tojson
range(5) | list|range(2, 10, 3) | list|range(5, 0, -2) | list|range(1000000) | list|dict is mapping|numbers is sequence|numbers is iterable|text is string|n is number|n is integer|x is float|x is number|n is odd|n is even|n is divisibleby 7|n is divisibleby(2)|none is none|undefined_name is undefined|text is defined|yes is boolean|yes is sameas true|'abc' is lower|'ABC' is upper|n is eq 7|n is ge(7)|n is not odd|range is callable|'upper' is filter|'odd' is test|n is greaterthan 3|namespace(a=1).a|namespace({'b': 2}).b|dict is iterable
'a' if yes|'a' if no|'a' if no else 'b'|'a' if yes else undefined_name.x|(numbers | length > 3) and 'many'|numbers | length + 1|-n | abs|-(n) | abs|not n in numbers|n in numbers == false|1 if 2 if 0 else 3 else 4|'a' 'b' 'c'|"\\x41\\u00e9\\U0001F600\\101\\q"|[1, 2, 3,]|{'a': 1,}.a|(1, 2,)|{**dict}|dict(a=1, b=2)|dict(dict, c=3)|loop is defined
""".strip()


def main():
    cases = list(TEMPLATES)
    for line in EXPRESSIONS.split("\n"):
        parts, depth = [""], 0
        # A bar that separates cases has no spaces around it; one that filters does.
        i = 0
        quote = None
        while i < len(line):
            c = line[i]
            if quote:
                if c == "\\":
                    parts[-1] += line[i:i + 2]
                    i += 2
                    continue
                if c == quote:
                    quote = None
            elif c in "'\"":
                quote = c
            elif c == "|" and line[i - 1] != " " and line[i + 1:i + 2] != " ":
                parts.append("")
                i += 1
                continue
            parts[-1] += c
            i += 1
        cases += ["{{ " + part.replace("\\\\", "\\") + " }}" for part in parts]
    cases = [(template, CONTEXT) for template in cases]
    letters = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) in ("Lu", "Ll", "Lt", "Lm", "Nl", "Mn", "Me", "Sk", "Cf", "So", "Po")]
    for begin in range(0, len(letters), 2000):
        some = [c for c in letters[begin:begin + 2000] if c != '\U0001171E']  # of another category since Unicode 15.1
        cases.append(("{% for c in some %}{{ c.upper() }}|{{ c.lower() }}|{{ c.title() }}|{{ c | title }}|{{ c.swapcase() }}|{{ c.isupper() }}{{ c.islower() }}{{ c.istitle() }}|{{ ('a' ~ c ~ 'a').title() }}\n{% endfor %}", {"some": some}))
        cases.append(("{% for c in some %}{{ ('AΣ' ~ c ~ 'A Σ' ~ c ~ ' ' ~ c ~ 'Σ').lower() }}|{{ (c ~ 'AΣ').capitalize() }}\n{% endfor %}", {"some": some}))
    for template, context in cases:
        case = {"template": template, "context": context}
        try:
            case["expected"] = _compile_jinja_template(template).render(**context)
        except Exception as error:
            case["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(case))


if __name__ == "__main__":
    main()
