"""Draws conversations for whole templates, and small programs of Jinja's features; prints what transformers makes of them.

drawn_chat_cases.py SEED PROGRAM_SEED COUNT [FOLDER...]: one JSON object a line. Templates are those of templates/ and of
the folders.
"""
import json
import pathlib
import random
import sys
import warnings

from transformers.utils.chat_template_utils import _compile_jinja_template

TEXTS = ["Hi", "  two\nlines  ", "Grüße, 世界! 👋🏽", "", "<think>\nhm\n</think>\n\nso", "a </think> b", "{{ x }} {% if %}", "\"quoted\" \\ 'it'", "<tool_response>1</tool_response>",
         "tab\tand\u200b", "İstanbul ſ ß ǅ", "line\r\nbreak\u2028end\x85", "long " * 30, "&amp; <b>bold</b>", "12.50", "ok\n\n\n"]
SCHEMAS = [{"type": "string", "description": "a place"}, {"type": "integer", "default": 3}, {"type": "array", "items": {"type": "number"}}, {"type": "array"},
           {"type": "string", "enum": ["c", "f"], "default": "c"}, {"type": ["string", "null"]}, {"oneOf": [{"type": "string"}, {"type": "integer", "default": 1, "description": "or"}]},
           {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "object"}}, "required": ["x"]}, {"type": "boolean", "nullable": True}, {}]


def conversation(draw):
    def value(depth=0):
        kinds = ["s", "i", "f", "b", "n"] + (["l", "d"] if depth < 2 else [])
        kind = draw.choice(kinds)
        return {"s": lambda: draw.choice(TEXTS), "i": lambda: draw.choice([0, -7, 42, 10 ** 12]), "f": lambda: draw.choice([0.5, -1e-7, 1e22, 3.0]),
                "b": lambda: draw.random() < .5, "n": lambda: None, "l": lambda: [value(depth + 1) for _ in range(draw.randrange(4))],
                "d": lambda: {draw.choice(["a", "b", "city", "ü", "items"]): value(depth + 1) for _ in range(draw.randrange(4))}}[kind]()

    def content():
        if draw.random() < .8:
            return draw.choice(TEXTS)
        return [draw.choice([{"type": "text", "text": draw.choice(TEXTS)}, {"type": "image"}, {"type": "image", "image": "x.png"}]) for _ in range(draw.randrange(4))]

    def calls():
        return [{"type": "function", **({"id": draw.choice(["abcdefghi", "x"])} if draw.random() < .6 else {}), "function": {
            "name": draw.choice(["add", "brave_search", "get_weather"]), "arguments": {k: value(1) for k in draw.sample(["z", "a", "query", "ß"], draw.randrange(4))}}}
            for _ in range(draw.choice([1, 1, 1, 2, 3]))]

    messages = [{"role": "system", "content": draw.choice(TEXTS)}] if draw.random() < .5 else []
    wild = draw.random() < .3
    for _ in range(draw.choice([0, 1, 1, 2, 3, 4])):
        messages.append({"role": "user", "content": content()})
        if draw.random() < .3:
            messages.append({"role": "assistant", "content": draw.choice(TEXTS + [""]), "tool_calls": calls()})
            for _ in range(draw.choice([1, 1, 2])):
                messages.append({"role": "tool", "content": draw.choice(TEXTS) if draw.random() < .7 else value(), **({"name": "add"} if draw.random() < .5 else {}),
                                 **({"tool_call_id": "abcdefghi"} if draw.random() < .5 else {})})
        if draw.random() < .8:
            messages.append({"role": "assistant", "content": content() if draw.random() < .2 else draw.choice(TEXTS),
                             **({"reasoning_content": draw.choice(TEXTS)} if draw.random() < .2 else {})})
    if wild and messages:
        draw.shuffle(messages)
        messages.append({"role": draw.choice(["developer", "ipython", "user", "critic"]), "content": draw.choice(TEXTS),
                         "replies": [{"role": "user"}, {"role": "tool", "replies": [{"role": "user"}]}]})
    messages = [{k: v for k, v in each.items() if v is not None} for each in messages]
    context = {"messages": messages, "add_generation_prompt": draw.random() < .5, "bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
    if draw.random() < .5:
        names = draw.sample(["place", "n", "list", "unit", "maybe", "one", "deep", "yes"], draw.randrange(5))
        context["tools"] = [{"type": "function", "function": {"name": draw.choice(["add", "get_weather"]), "description": draw.choice(TEXTS),
                             "parameters": {"type": "object", "properties": {name: draw.choice(SCHEMAS) for name in names}, "required": names[:2]},
                             **({"return": {"type": "string"}} if draw.random() < .3 else {})}} for _ in range(draw.randrange(1, 3))]
    if draw.random() < .3:
        context["documents"] = [draw.choice([{"title": draw.choice(TEXTS), "text": draw.choice(TEXTS)}, "not a mapping"]) for _ in range(draw.randrange(8))]
    for name, choices in {"enable_thinking": [True, False], "date_string": ["1 May 2025"], "builtin_tools": [["code_interpreter", "brave_search"]],
                          "tools_in_user_message": [True, False], "thinking": [True, False], "reasoning_effort": ["low", "high"],
                          "model_identity": ["You are a test."], "controls": [{"length": "short"}], "keep_past_thinking": [True]}.items():
        if draw.random() < .3:
            context[name] = draw.choice(choices)
    return context


CONTEXT = {"s": "The quick brown fox", "u": "Grüße 世界 👋🏽", "e": "", "sp": "  a  b \n c\t", "csv": "a,b,,c", "lines": "one\ntwo\r\n\nthree\n", "html": "<b>x</b> & y",
           "n": 7, "z": 0, "neg": -3, "x": 2.5, "y": -0.125, "big": 1e22, "t": True, "f": False, "nothing": None,
           "nums": [3, 1, 2, 1], "mixed": [1, "a", None, 2.5, True], "words": ["pear", "Apple", "fig", "apple"], "none_list": [],
           "d": {"b": 1, "a": 2, "C": 3}, "nested": {"k": {"l": [1, {"m": "deep"}]}, "items": "shadow"},
           "people": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 25}, {"name": "Cy", "age": 30, "tags": []}]}


class Programs:
    """Draws expressions that are mostly well typed, and statements around them."""

    def __init__(self, draw):
        self.draw = draw

    def one(self, *choices):
        choice = self.draw.choice(choices)
        return choice() if callable(choice) else choice

    def text(self, depth=0):
        if depth > 2:
            return self.one("s", "u", "e", "sp", "csv", "lines", "html", "'x'", "'o'", "' '", "''", "','", "'qu'")
        t, i, a = lambda: self.text(depth + 1), lambda: self.number(depth + 1), lambda: self.any(depth + 1)
        return self.one(
            lambda: self.text(9), lambda: self.text(9),
            lambda: f"({t()} ~ {a()})", lambda: f"({t()} + {t()})", lambda: f"({t()} * {self.one('0', '2', '-1', 'n', 't')})",
            lambda: f"({t()})[{self.one('0', '-1', '1:', ':-1', '::-1', '::2', '-3:', '1:4', ':99', '3:1', '::-2', '5:1:-1', '99:', 'n', 'neg:')}]",
            lambda: f"({t()}) | {self.one('upper', 'lower', 'title', 'capitalize', 'trim', 'reverse', 'string', 'striptags', 'urlencode', 'first', 'last', 'wordcount', 'length', 'list', 'int', 'float', 'tojson')}",
            lambda: f"({t()}) | {self.one('replace(%s, %s)', 'replace(%s, %s, 1)', 'default(%s, %s)', 'format(%s, %s)') % (t(), t())}",
            lambda: f"({t()}) | {self.one('trim(%s)', 'indent(%s)', 'indent(2, %s)', 'indent(3, true, %s)', 'join(%s)', 'batch(3, %s) | list', 'default(%s)', 'd(%s, true)') % t()}",
            lambda: f"({t()}) | truncate({self.one('5', '10', '10, true', '9, false, %r' % '..', '12, true, %r, 0' % '', '255', 'n')})",
            lambda: f"({t()}) | {self.one('center(21)', 'center(4)', 'indent', 'indent(first=true)')}",
            lambda: f"({t()}).{self.one('upper', 'lower', 'title', 'capitalize', 'strip', 'lstrip', 'rstrip', 'swapcase', 'casefold', 'isalpha', 'isdigit', 'isalnum', 'isspace', 'isupper', 'islower', 'istitle', 'isnumeric', 'isdecimal', 'isascii', 'splitlines', 'split', 'rsplit', 'expandtabs')}()",
            lambda: f"({t()}).{self.one('strip', 'lstrip', 'rstrip', 'split', 'rsplit', 'startswith', 'endswith', 'find', 'rfind', 'count', 'index', 'rindex', 'partition', 'rpartition', 'removeprefix', 'removesuffix', 'join')}({t()})",
            lambda: f"({t()}).{self.one('split(%s, 1)', 'rsplit(%s, 1)', 'replace(%s, %r)' % ('%s', '-'), 'replace(%s, %r, 1)' % ('%s', '+'), 'split(%s, maxsplit=1)', 'startswith((%s, %r))' % ('%s', 'T'), 'find(%s, 2)') % t()}",
            lambda: f"({t()}).{self.one('ljust(9)', 'rjust(9, %r)' % '*', 'center(9)', 'center(8, %r)' % '-', 'zfill(12)', 'expandtabs(4)')}",
            lambda: f"'{self.one('%s|%s', '%r %s', '%d', '%5.1f', '%x %o', '%-6s|', '%06d', '%+d', '%%', '%c', '%e', '%g', '%s %(a)s')}' % {self.one('(%s, %s)', '(%s,)', '%s') .replace('%s', '{}').format(a(), a())}",
            lambda: f"'{self.one('{} {}', '{0} {1} {0}', '{:>8}|{:<8}', '{:^9}{}', '{!r} {!s}', '{:05}|{}', '{:,}|{}', '{:.2f}{}', '{:%}{}', '{:+}|{:e}', '{:x}{}', '{:b}{}', '{{{}}}{}')}'.format({a()}, {a()})",
            lambda: f"({a()}) | tojson{self.one('', '(indent=2)', '(indent=4)', '(sort_keys=true)', '(ensure_ascii=true)', '(separators=(%r, %r))' % (',', ':'), '(2)', '(ensure_ascii=false, indent=1)')}",
            lambda: f"({self.list(depth + 1)}) | join({t()})", lambda: f"({t()} if {a()} else {t()})", lambda: f"({a()}) | string")

    def number(self, depth=0):
        if depth > 2:
            return self.one("n", "z", "neg", "x", "y", "1", "3", "0.5", "10", "t")
        i = lambda: self.number(depth + 1)
        return self.one(
            lambda: self.number(9), lambda: f"({i()} {self.one('+', '-', '*', '/', '//', '%')} {i()})", lambda: f"({i()} ** {self.one('2', '0', '-1')})", lambda: f"-{i()}", lambda: f"(+{i()})",
            lambda: f"({self.one(self.list, self.text)}) | length", lambda: f"({self.one(self.number, self.text)}) | {self.one('int', 'float', 'int(5)', 'int(base=16)', 'float(1.5)')}",
            lambda: f"({i()}) | {self.one('abs', 'round', 'round(1)', 'round(2, %r)' % 'ceil', 'round(method=%r)' % 'floor', 'int', 'string', 'tojson')}",
            lambda: f"(nums | {self.one('sum', 'min', 'max', 'first', 'last', 'sum(start=n)')})", lambda: f"({self.text(depth + 1)}).count({self.text(9)})", lambda: f"nums.{self.one('index(1)', 'count(1)')}")

    def list(self, depth=0):
        if depth > 2:
            return self.one("nums", "mixed", "words", "none_list", "people", "d.items()", "range(4)", "[1, 2]", "(1, 'a')", "csv.split(',')", "d", "'abc'")
        l, a = lambda: self.list(depth + 1), lambda: self.any(depth + 1)
        test = lambda: self.one("'odd'", "'even'", "'string'", "'none'", "'number'", "'defined'", "'gt', 1", "'in', nums", "'equalto', 'fig'", "'mapping'", "'eq', 1", "'divisibleby', 2", "'lower'", "'boolean'", "'iterable'", "'integer'", "'float'", "'sequence'", "'true'", "'ne', 1")
        return self.one(
            lambda: self.list(9), lambda: self.list(9),
            lambda: f"({l()}) | {self.one('list', 'sort', 'sort(reverse=true)', 'sort(case_sensitive=true)', 'unique | list', 'reverse | list', 'first', 'last', 'length', 'min', 'max', 'sum', 'tojson', 'string', 'batch(2) | list', 'slice(3) | list', 'batch(3, %r) | list' % '-', 'slice(2, 0) | list', 'join', 'items | list', 'dictsort', 'map(%r) | list' % 'string')}",
            lambda: f"({l()}) | {self.one('select', 'reject')}({test()}) | list", lambda: f"({l()}) | select | list",
            lambda: f"people | {self.one('selectattr', 'rejectattr')}({self.one(repr('age'), repr('name'), repr('tags'))}{self.one('', ', ' + test())}) | {self.one('list', 'map(attribute=%r) | list' % 'name', 'length')}",
            lambda: f"people | {self.one('map(attribute=%r)' % 'name', 'map(attribute=%r)' % 'tags', 'map(attribute=%r, default=%r)' % ('tags', '?'), 'sort(attribute=%r)' % 'age', 'sort(attribute=%r, reverse=true)' % 'age,name', 'groupby(%r)' % 'age', 'unique(attribute=%r)' % 'age', 'map(%r) | map(%r)' % ('items', 'list'), 'sum(attribute=%r)' % 'age', 'min(attribute=%r)' % 'name', 'map(%r, %r)' % ('attr', 'name'))} | {self.one('list', 'list', 'length')}",
            lambda: f"({l()}) | map({self.one(*map(repr, ['string', 'upper', 'length', 'int', 'tojson', 'first', 'list', 'title', 'trim', 'abs', 'float', 'lower', 'capitalize']))}) | list",
            lambda: f"({l()})[{self.one('0', '-1', '1:', '::-1', ':2', '9', '-2:', '::2')}]", lambda: f"({l()} + {l()})", lambda: f"({l()} * 2)", lambda: f"[{a()}, {a()}]", lambda: f"({a()},)",
            lambda: f"d | {self.one('dictsort', 'dictsort(true)', 'dictsort(by=%r)' % 'value', 'items | list', 'list', 'length', 'tojson', 'dictsort(reverse=true)', 'first', 'sort', 'map(%r) | list' % 'upper', 'join(%r)' % '-', 'last', 'reverse | list')}",
            lambda: f"d.{self.one('items() | list', 'keys() | list', 'values() | list', 'get(%r)' % 'a', 'get(%r, 5)' % 'q', 'copy()', 'a', 'q', 'C', 'keys() | sort', 'values() | sum')}",
            lambda: f"range({self.one('3', '1, 8, 3', '5, 0, -2', 'n', 'neg', '0')}) | list", lambda: f"{{'k': {a()}, {self.text(9)}: {a()}}}", lambda: f"dict(q={a()}, **d)", lambda: f"dict(d, b={a()})",
            lambda: f"({l()}) | batch(2) | map('first') | list")

    def any(self, depth=0):
        if depth > 2:
            return self.one(lambda: self.text(9), lambda: self.number(9), lambda: self.list(9), "t", "f", "nothing", "d", "nested", "missing", "none", "true", "people[0].tags", "people[1].tags", "nested.k.l[1].m", "nested['items']", "d['zz']")
        a = lambda: self.any(depth + 1)
        return self.one(
            lambda: self.text(depth), lambda: self.text(depth), lambda: self.number(depth), lambda: self.list(depth), lambda: self.list(depth), lambda: self.any(9),
            lambda: f"({a()} {self.one('and', 'or', '==', '!=', '<', '>=', '>', '<=', 'in', 'not in')} {a()})", lambda: f"(not {a()})", lambda: f"({self.number()} < {self.number()} <= {self.number()})",
            lambda: f"({a()} is {self.one('', 'not ')}{self.one('defined', 'undefined', 'none', 'string', 'mapping', 'iterable', 'sequence', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'callable', 'lower', 'upper', 'in [1, 2]', 'eq 1', 'sameas none', 'odd', 'even', 'divisibleby(3)', 'gt(1)', 'ne(7)', 'le 3')})",
            lambda: f"({a()} if {a()} else {a()})", lambda: f"({a()} if {a()})", lambda: f"({a()}) | {self.one('default(%s)', 'default(%s, true)', 'd(%s)') % a()}", lambda: f"({self.list()} | first | default({a()}))",
            lambda: f"namespace(v={a()}).v", lambda: f"nested.{self.one('k.l', 'k.zz', 'k.l.0', 'k.l[1].m | upper', 'k | length', 'k.get(%r)' % 'l')}")

    def statement(self, depth=0):
        body = lambda: "".join(self.statement(depth + 1) for _ in range(self.draw.randrange(1, 3))) if depth < 3 else f"{{{{ {self.text()} }}}}"
        o = lambda: self.one("{%", "{%", "{%-", "{%-", "{%+")
        c = lambda: self.one("%}", "%}", "-%}", "-%}", "+%}")
        space = lambda: self.one("", "", " ", "\n", "  \n", "\n  ", "\t\n\n", "text", " a\n", "\n\n")
        a = lambda: self.any(1)
        loops = lambda: self.one("loop.index", "loop.index0", "loop.revindex", "loop.revindex0", "loop.first", "loop.last", "loop.length", "loop.depth", "loop.depth0", "loop.previtem", "loop.nextitem", "loop.cycle('a', 'b')", "loop.changed(n > 1)", "loop.previtem is defined", "loop.nextitem is undefined")
        return space() + self.one(
            lambda: f"{self.one('{{', '{{-')} {a()} {self.one('}}', '-}}')}", lambda: f"{{{{ {a()} }}}}", lambda: f"{{{{ {a()} }}}}", lambda: self.one("{# note #}", "{#- note -#}", "{#+ n +#}", "{# a\nb #}"),
            lambda: f"{o()} if {a()} {c()}{body()}{self.one('', o() + ' else ' + c() + body(), o() + ' elif ' + a() + ' ' + c() + body())}{o()} endif {c()}",
            lambda: f"{o()} for i in {self.list(1)} {c()}{{{{ i }}}}{{{{ {loops()} }}}}{self.one('', '', lambda: o() + ' if loop.index > 1 ' + c() + o() + self.one(' break ', ' continue ') + c() + o() + ' endif ' + c())}{body()}{self.one('', o() + ' else ' + c() + body())}{o()} endfor {c()}",
            lambda: f"{o()} for i in {self.list(1)} if {self.one('i', 'i is string', 'i != 1', 'loop is undefined', 'i is odd')} {c()}{{{{ i }}}}{{{{ {loops()} }}}}{o()} endfor {c()}",
            lambda: f"{o()} for k, v in {self.one('d.items()', 'd | dictsort', 'd | items', 'nested.items()', 'people | groupby(%r)' % 'age', '[(1, 2), [3, 4]]', 'd | dictsort(by=%r)' % 'value')} {c()}{{{{ k }}}}={{{{ v }}}}{body()}{o()} endfor {c()}",
            lambda: f"{o()} set v = {a()} {c()}{{{{ v }}}}", lambda: f"{o()} set v {self.one('', '| upper ', '| trim | title ')}{c()}{body()}{o()} endset {c()}[{{{{ v }}}}]", lambda: f"{o()} set v, w = {self.one('1, 2', '(n, s)', 'nums[:2]', 'words')} {c()}{{{{ v }}}}{{{{ w }}}}",
            lambda: f"{o()} set ns = namespace(c=0, l=[]) {c()}{o()} for i in {self.list(2)} {c()}{o()} set ns.c = ns.c + 1 {c()}{o()} set ns.l = ns.l + [i] {c()}{o()} endfor {c()}{{{{ ns.c }}}}{{{{ ns.l }}}}",
            lambda: f"{o()} macro m(p, q={self.any(2)}) {c()}{body()}{{{{ p }}}}{{{{ q }}}}{{{{ varargs }}}}{{{{ kwargs }}}}{self.one('', '{{ caller() if caller }}')}{o()} endmacro {c()}{{{{ m({self.one('', '1', 's, 2', '1, 2, 3', 'q=1', '1, r=2', '*nums', '1, **d', 'p=s')}) }}}}{{{{ m.name }}}}",
            lambda: f"{o()} macro m(p) {c()}<{{{{ caller({self.one('', 'p', '1, 2')}) }}}}>{o()} endmacro {c()}{o()} call{self.one('', '(x)', '(x, y=2)')} m({a()}) {c()}{body()}{o()} endcall {c()}",
            lambda: f"{o()} filter {self.one('upper', 'trim', 'replace(%r, %r)' % ('a', '_'), 'indent(2) | title')} {c()}{body()}{o()} endfilter {c()}", lambda: f"{o()} with v = {a()}, w = n {c()}{{{{ v }}}}{{{{ w }}}}{body()}{o()} endwith {c()}",
            lambda: f"{o()} raw {self.one('%}', '-%}')} {{{{ a }}}} {o()} endraw {c()}", lambda: f"{o()} generation {c()}{body()}{o()} endgeneration {c()}", lambda: f"{o()} for i in [1, [2, [3]], 4] recursive {c()}{{{{ loop.depth }}}}{{{{ loop(i) if i is sequence else i }}}}{o()} endfor {c()}",
            lambda: f"{{{{ {self.text()} }}}}", lambda: f"{o()} block b{self.draw.randrange(10 ** 9)} {c()}{{{{ {self.text()} }}}}{o()} endblock {c()}",
            lambda: f"{o()} autoescape false {c()}{{{{ html }}}}{o()} endautoescape {c()}") + space()

    def program(self):
        return f"{{{{ {self.any()} }}}}" if self.draw.random() < .6 else "".join(self.statement() for _ in range(self.draw.randrange(1, 4)))


def show(template, context, shared=None, name=None):
    case = {"template": template, **({"shared": shared} if shared else {"context": context}), **({"name": name} if name else {})}
    try:
        case["expected"] = _compile_jinja_template(template).render(**context)
        case["expected"].encode()
    except Exception as error:
        case.pop("expected", None)
        case["error"] = f"{type(error).__name__}: {error}"
    if len(case.get("expected", "")) < 100_000 and " object at 0x" not in case.get("expected", ""):  # an address is new in every run
        print(json.dumps(case))


def main():
    warnings.simplefilter("ignore")
    draw = random.Random(int(sys.argv[1]))
    count = int(sys.argv[3])
    folders = [pathlib.Path(__file__).parent / "templates", *map(pathlib.Path, sys.argv[4:])]
    for file in sorted(file for folder in folders for file in folder.rglob("*.jinja")):
        template = file.read_bytes().decode()
        for _ in range(max(count // 20, 4)):
            show(template, conversation(draw), name=file.name)
    print(json.dumps({"shared": CONTEXT}))
    programs = Programs(random.Random(int(sys.argv[2])))
    for _ in range(count * 20):
        show(programs.program(), CONTEXT, shared=True)


if __name__ == "__main__":
    main()
