"""Writes tables.inc: what each code point is to Hugging Face's tokenizers, asked of the library itself.

usage: make_tables.py > tables.inc        (needs PyPI's tokenizers; takes about a minute)

The library mixes several Unicode versions (its regular expressions, Rust's standard library, the crates it normalizes
and categorizes with), so that no single version of the Unicode database gives its ids on all of Unicode. Each property
is therefore read off the behaviour of the component that uses it.
"""
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, CODE_POINTS))
CATEGORIES = ["Cn", "Cc", "Cf", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl", "No",
              "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs"]
ONIG_WORD, RUST_WORD, RUST_SPACE, RUST_NUMERIC, PUNCTUATION, OTHER, NONSPACING, COMBINING = (1 << i for i in range(8))


def matches(pattern):
    """Returns the code points that the library's regular expressions match with `pattern` (one character)."""
    pieces = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed", invert=True).pre_tokenize_str(ALL)
    return [ord(c) for text, _ in pieces for c in text]


def kept(pre_tokenizer):
    return {ord(c) for text, _ in pre_tokenizer.pre_tokenize_str(ALL) for c in text}


category = [0] * 0x110000
for index, name in enumerate(CATEGORIES):
    if name in ("Cn", "Cs"):
        continue
    for c in matches(rf"\p{{{name}}}"):
        category[c] = index

flags = [0] * 0x110000
for c in matches(r"\w"):
    flags[c] |= ONIG_WORD
not_space = kept(pre_tokenizers.WhitespaceSplit())
not_punctuation = kept(pre_tokenizers.Punctuation("removed"))
numeric_runs = pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str(ALL)
for index, (text, _) in enumerate(numeric_runs):
    if index % 2 == 1:  # the first code point, U+0000, is no number
        for c in text:
            flags[ord(c)] |= RUST_NUMERIC
whitespace = pre_tokenizers.Whitespace()
clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
accents = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
strip_accents, lower = normalizers.StripAccents(), normalizers.Lowercase()
nfd, nfkd, nfc = normalizers.NFD(), normalizers.NFKD(), normalizers.NFC()
lowercase, canonical, compatible = {}, {}, {}
for c in CODE_POINTS:
    s = chr(c)
    if c not in not_space:
        flags[c] |= RUST_SPACE
    if c not in not_punctuation:
        flags[c] |= PUNCTUATION
    if len(whitespace.pre_tokenize_str(f"a{s}a")) == 1:
        flags[c] |= RUST_WORD
    if clean.normalize_str(s) == "":
        flags[c] |= OTHER
    if accents.normalize_str(s) == "":
        flags[c] |= NONSPACING
    if strip_accents.normalize_str(s) == "":
        flags[c] |= COMBINING
    t = lower.normalize_str(s)
    if t != s:
        lowercase[c] = t
    if not 0xAC00 <= c < 0xD7A4:  # Hangul syllables follow a rule
        d, k = nfd.normalize_str(s), nfkd.normalize_str(s)
        if d != s:
            canonical[c] = d
        if k != d:
            compatible[c] = k

combining_class = {}
for c in CODE_POINTS:
    k = unicodedata.combining(chr(c))
    if k:
        # A mark of a higher class before it must trade places with it, one of a lower class after it too.
        high, low = "\u0345", "\u0334"
        swapped = nfd.normalize_str(high + chr(c)) != nfd.normalize_str(high) + nfd.normalize_str(chr(c)) if k < 240 else \
            nfd.normalize_str(chr(c) + low) != nfd.normalize_str(chr(c)) + low
        if swapped:
            combining_class[c] = k
compositions = {}
for c in CODE_POINTS:
    d = unicodedata.decomposition(chr(c))
    if d and not d.startswith("<") and len(d.split()) == 2:
        a, b = (int(x, 16) for x in d.split())
        if nfc.normalize_str(chr(a) + chr(b)) == chr(c):
            compositions[(a, b)] = c

# Scripts: only which code points share one matters; number them by the first code point of each.
scripts_of = pre_tokenizers.UnicodeScripts()
one = lambda s: len(scripts_of.pre_tokenize_str(s)) == 1
script = [0] * 0x110000
representatives, runs = [], [text for text, _ in scripts_of.pre_tokenize_str(ALL)]
position = 0
run_class = {}
for c in CODE_POINTS:
    s = chr(c)
    if one("a" + s) and one("\u0434" + s):
        script[c] = 0  # joins any script
        continue
    last = run_class.get("last")
    if last is not None and one(representatives[last - 1] + s):
        script[c] = last
        continue
    for index, r in enumerate(representatives):
        if one(r + s):
            script[c] = index + 1
            break
    else:
        representatives.append(s)
        script[c] = len(representatives)
    run_class["last"] = script[c]


def two_stage(name, kind, values, block=128):
    blocks, index, first = [], [], {}
    for start in range(0, 0x110000, block):
        key = tuple(values[start:start + block])
        if key not in first:
            first[key] = len(blocks)
            blocks.append(key)
        index.append(first[key])
    array(f"{name}Index", "std::uint16_t", index)
    array(f"{name}Blocks", kind, [v for b in blocks for v in b])


def array(name, kind, values):
    print(f"constexpr {kind} {name}[] = {{")
    line = ""
    for v in values:
        item = f"{v},"
        if len(line) + len(item) > 110:
            print(line)
            line = ""
        line += item
    print(line + "};")


def mapping(name, table):
    """A sorted list of code points, and where the text of each begins in one list of code points."""
    keys, begins, text = sorted(table), [], []
    for k in keys:
        begins.append(len(text))
        text += map(ord, table[k])
    begins.append(len(text))
    array(f"{name}Keys", "char32_t", keys)
    array(f"{name}Begins", "std::uint16_t", begins)
    array(f"{name}Text", "char32_t", text)


print(f"// Written by make_tables.py from PyPI tokenizers {tokenizers.__version__}; don't edit.")
two_stage("kCategory", "std::uint8_t", category)
two_stage("kFlags", "std::uint8_t", flags)
two_stage("kScript", "std::uint8_t", script)
two_stage("kCombiningClass", "std::uint8_t", [combining_class.get(c, 0) for c in range(0x110000)])
mapping("kLowercase", lowercase)
mapping("kCanonical", canonical)
mapping("kCompatible", compatible)
pairs = sorted(compositions)
array("kCompositionFirst", "char32_t", [a for a, _ in pairs])
array("kCompositionSecond", "char32_t", [b for _, b in pairs])
array("kCompositionResult", "char32_t", [compositions[p] for p in pairs])
print(f"{len(representatives)} scripts, {len(pairs)} compositions, {len(lowercase)} lowercase", file=sys.stderr)
