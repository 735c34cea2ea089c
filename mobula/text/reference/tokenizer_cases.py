"""Trains tokenizers of every kind with Hugging Face's library and encodes drawn texts with them.

usage: tokenizer_cases.py SEED FOLDER TEXTS

Writes FOLDER/NAME.json for each tokenizer and prints one JSON object a text and tokenizer: the text's bytes (base64), ids,
offsets in bytes of the text, and so on, as the library gives them.
"""
import base64
import glob
import json
import os
import random
import site
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers as pt, processors, trainers

SEED, FOLDER, NUM_TEXTS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
rng = random.Random(SEED)

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
HAN = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^\p{Han}]]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

BLOCKS = [(0x20, 0x7F), (0xA0, 0x180), (0x180, 0x250), (0x300, 0x370), (0x370, 0x400), (0x400, 0x530), (0x530, 0x600),
          (0x600, 0x700), (0x700, 0x900), (0x900, 0xB00), (0xB00, 0xE00), (0xE00, 0x1000), (0x1000, 0x1200), (0x1100, 0x1200),
          (0x1200, 0x1400), (0x1680, 0x1700), (0x1780, 0x1900), (0x1AB0, 0x1B00), (0x1D00, 0x1E00), (0x1E00, 0x2000),
          (0x2000, 0x2070), (0x2070, 0x2100), (0x2100, 0x2400), (0x2460, 0x2500), (0x2500, 0x2800), (0x2E80, 0x3040),
          (0x3040, 0x3100), (0x3130, 0x3200), (0x3200, 0x3400), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xA000, 0xA700),
          (0xA700, 0xAC00), (0xAC00, 0xD7B0), (0xE000, 0xF900), (0xF900, 0xFB00), (0xFB00, 0xFE00), (0xFE00, 0xFF00),
          (0xFF00, 0x10000), (0x10000, 0x11000), (0x11000, 0x12000), (0x16000, 0x17000), (0x1B000, 0x1B300), (0x1D000, 0x1D400),
          (0x1D400, 0x1D800), (0x1E000, 0x1F000), (0x1F000, 0x1F700), (0x1F600, 0x1F650), (0x1F900, 0x1FB00), (0x20000, 0x2A6E0),
          (0x2F800, 0x2FA20), (0x30000, 0x32000), (0xE0000, 0xE0200), (0xF0000, 0xF0100), (0, 0x110000)]
WORDS = "the The THE and to of you that's I'll we've they're don't can't HE'S it\u2019s na\u00efve caf\u00e9 cafe\u0301 stra\u00dfe \u0130stanbul " \
        "Gr\u00fc\u00dfe \u4f60\u597d \u4e16\u754c \u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627 \u0939\u093f\u0928\u094d\u0926\u0940 \ud55c\uad6d\uc5b4 \u30c6\u30b9\u30c8\u30fc \u3072\u3089\u304c\u306a \u0e44\u0e17\u0e22 " \
        "12345 3.14 1,000 \u0661\u0662\u0663 \u2167 \u00bd x\u00b2 'S 's '\u017f 'LL 'Ve \ufb01n \uff21\uff22 \u1e9b\u0323 \u03a9 \u212b <s> </s> [MASK] <|endoftext|> <0x41> \u2581 ## \u0120 lower LOWER special".split(" ")
PIECES = [" ", "  ", "    ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u3000", "\u200b", "\u2028", "\x00", "\x01", "\x7f", "\x85", "\x1c", "\ufeff", "\ufffd",
          "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\U0001F44D\U0001F3FD", "\U0001F1E9\U0001F1EA", "e\u0301\u0323", "\u1100\u1161\u11a8", "...", "!!!", "--", "//", "'", '"', "_", "#"]


def character():
    while True:
        low, high = rng.choice(BLOCKS)
        c = rng.randrange(low, high)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def draw_text():
    kind = rng.random()
    if kind < 0.02:
        return ""
    if kind < 0.05:
        return rng.choice(["a", "\u4e16", "'", " ", "e\u0301"]) * rng.randrange(1, 2000)
    if kind < 0.08:
        return "".join(rng.choice("abcdefgh") for _ in range(rng.randrange(100, 3000)))
    parts = []
    for _ in range(rng.randrange(1, 40)):
        pick = rng.random()
        if pick < 0.45:
            parts.append(rng.choice(WORDS))
        elif pick < 0.6:
            parts.append(rng.choice(PIECES))
        elif pick < 0.75:
            low, high = rng.choice(BLOCKS[:-1])
            parts.append("".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 12)) if not 0xD800 <= low < 0xE000))
        elif pick < 0.9:
            parts.append(character())
        else:
            parts.append("".join(rng.choice(" abcdefghijklmnopqrstuvwxyzABCDE.,;:!?'0123456789") for _ in range(rng.randrange(1, 30))))
        if rng.random() < 0.4:
            parts.append(" ")
    return "".join(parts)


CORPUS = [draw_text() for _ in range(600)] + ["the quick brown fox jumps over the lazy dog and the other fox 's'll 're 123 4567"] * 20
COMMON = set("".join(WORDS)) | set(map(chr, range(32, 0x180)))
ALPHABET = sorted(pt.ByteLevel.alphabet())
TOKENIZERS = {}


def bpe(pre, normalizer=None, alphabet=True, vocab=700, special=("<|endoftext|>",), decoder=None, post=None, model=None, **trainer):
    t = Tokenizer(model or models.BPE())
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=ALPHABET if alphabet else [], special_tokens=list(special),
                                                      show_progress=False, **trainer))
    t.decoder = decoder or decoders.ByteLevel()
    if post:
        t.post_processor = post
    return t


def split(rx):
    return pt.Sequence([pt.Split(Regex(rx), "isolated"), pt.ByteLevel(add_prefix_space=False, use_regex=False)])


def with_options(tokenizer, **options):
    """Changes members of the model in the file, where the library has no setter."""
    j = json.loads(tokenizer.to_str())
    for key, value in options.items():
        j["model"][key] = value
    return Tokenizer.from_str(json.dumps(j))


def template(cls, sep, t):
    c, s = t.token_to_id(cls), t.token_to_id(sep)
    return processors.TemplateProcessing(single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B:1 {sep}:1", special_tokens=[(cls, c), (sep, s)])


def word_piece(normalizer, pre=None, **options):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizer
    t.pre_tokenizer = pre or pt.BertPreTokenizer()
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=900, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.decoder = decoders.WordPiece(**options)
    t.post_processor = template("[CLS]", "[SEP]", t)
    return t


def unigram(normalizer, pre, decoder, **options):
    t = Tokenizer(models.Unigram())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    common = ["".join(c for c in text if c in COMMON) for text in CORPUS]
    t.train_from_iterator(common, trainers.UnigramTrainer(vocab_size=700, unk_token="<unk>", special_tokens=["<s>", "</s>", "<unk>"], show_progress=False))
    t.decoder = decoder
    return with_options(t, **options) if options else t


def word_level(pre, normalizer=None):
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(CORPUS, trainers.WordLevelTrainer(vocab_size=5000, special_tokens=["<unk>"], show_progress=False))
    return t


def precompiled():
    """The rules of SentencePiece's nmt_nfkc, out of a model trained on the spot (protocol buffers, fields 3.2)."""
    import sentencepiece
    prefix = os.path.join(FOLDER, "spm")
    with open(prefix + ".txt", "w") as f:
        f.write("\n".join(["the quick brown fox", "jumps over", "a lazy dog"] * 30))
    sentencepiece.SentencePieceTrainer.Train(input=prefix + ".txt", model_prefix=prefix, vocab_size=40, minloglevel=2, normalization_rule_name="nmt_nfkc",
                                             hard_vocab_limit=False)
    data = open(prefix + ".model", "rb").read()

    def fields(buffer):
        at = 0
        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = buffer[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(buffer):
            key = varint()
            if key & 7 == 2:
                size = varint()
                yield key >> 3, buffer[at:at + size]
                at += size
            elif key & 7 == 0:
                yield key >> 3, varint()
            else:
                at += 4 if key & 7 == 5 else 8
    spec = dict(fields(dict(fields(data))[3]))
    return normalizers.Precompiled(spec[2])


def build():
    T = TOKENIZERS
    T["gpt2"] = bpe(pt.ByteLevel(add_prefix_space=False), post=processors.ByteLevel(trim_offsets=True))
    T["gpt2_prefix"] = bpe(pt.ByteLevel(add_prefix_space=True), post=processors.ByteLevel(trim_offsets=True, add_prefix_space=True))
    T["gpt2_split"] = bpe(split(GPT2))
    T["llama3"] = with_options(bpe(split(LLAMA3), special=("<s>", "<|endoftext|>")), ignore_merges=True)
    T["llama3"].post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", T["llama3"].token_to_id("<s>"))])])
    T["qwen2"] = bpe(split(QWEN2), normalizer=normalizers.NFC())
    T["gpt4o"] = bpe(split(GPT4O))
    T["han"] = bpe(split(HAN))
    T["byte_no_alphabet"] = bpe(pt.ByteLevel(add_prefix_space=False), alphabet=False, model=models.BPE(unk_token="<unk>"), special=("<unk>",))
    T["byte_normalizer"] = bpe(pt.Split(Regex(r"\s+"), "isolated"), normalizer=normalizers.ByteLevel())
    T["roberta"] = bpe(pt.ByteLevel(add_prefix_space=True), special=("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    T["roberta"].add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    T["roberta"].post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=True)

    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    sp = bpe(pt.Metaspace(prepend_scheme="always"), alphabet=False, vocab=900, special=["<unk>", "<s>", "</s>"] + bytes_, model=models.BPE(unk_token="<unk>", fuse_unk=True))
    sp.pre_tokenizer = pt.Metaspace(prepend_scheme="first", split=False)
    sp.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    j = json.loads(sp.to_str())
    j["added_tokens"] = [t for t in j["added_tokens"] if not t["content"].startswith("<0x")]
    T["llama2_first"] = with_options(Tokenizer.from_str(json.dumps(j)), byte_fallback=True)
    j["pre_tokenizer"] = None
    j["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    T["llama2"] = with_options(Tokenizer.from_str(json.dumps(j)), byte_fallback=True)
    T["llama2_no_fallback"] = Tokenizer.from_str(json.dumps(j))
    T["llama2_no_fuse"] = with_options(T["llama2_no_fallback"], fuse_unk=False)
    T["llama2_no_unk"] = with_options(T["llama2_no_fallback"], unk_token=None)
    j["normalizer"]["normalizers"].insert(0, {"type": "Strip", "strip_left": True, "strip_right": False})
    j["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}
    T["strip_then_first"] = Tokenizer.from_str(json.dumps(j))

    T["suffix"] = bpe(pt.Whitespace(), normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]), alphabet=False,
                      special=("<unk>",), model=models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), decoder=decoders.BPEDecoder("</w>"), end_of_word_suffix="</w>")
    T["continuing"] = bpe(pt.BertPreTokenizer(), alphabet=False, special=("<unk>",), model=models.BPE(unk_token="<unk>", continuing_subword_prefix="##"),
                          decoder=decoders.WordPiece(), continuing_subword_prefix="##")

    T["unigram"] = unigram(normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]), pt.Metaspace(), decoders.Metaspace())
    T["unigram_precompiled"] = unigram(normalizers.Sequence([precompiled(), normalizers.Replace(Regex(" {2,}"), " ")]),
                                       pt.Sequence([pt.WhitespaceSplit(), pt.Metaspace()]), decoders.Metaspace())
    T["unigram_precompiled"].post_processor = template("<s>", "</s>", T["unigram_precompiled"])
    T["unigram_nmt"] = unigram(normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents()]), pt.Metaspace(prepend_scheme="never", split=False),
                               decoders.Metaspace(prepend_scheme="never"))
    T["unigram_no_normalizer"] = unigram(None, pt.UnicodeScripts(), decoders.Fuse())

    T["bert"] = word_piece(normalizers.BertNormalizer(lowercase=True))
    T["bert_cased"] = word_piece(normalizers.BertNormalizer(lowercase=False), cleanup=False)
    T["bert_unclean"] = word_piece(normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, lowercase=True, strip_accents=False))
    T["bert_unclean"].post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    T["word_piece_forms"] = word_piece(normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]), pt.Whitespace())
    for name, extra in (("truncated", dict(max_length=12)), ("truncated_left", dict(max_length=9, direction="left", stride=2)),
                        ("only_first", dict(max_length=30, strategy="only_first"))):
        T["bert_" + name] = Tokenizer.from_str(T["bert"].to_str())
        T["bert_" + name].enable_truncation(**extra)
    T["bert_padded"] = Tokenizer.from_str(T["bert"].to_str())
    T["bert_padded"].enable_padding(length=40, pad_id=0, pad_type_id=2)
    T["bert_padded_left"] = Tokenizer.from_str(T["bert_truncated"].to_str())
    T["bert_padded_left"].enable_padding(direction="left", pad_to_multiple_of=8, pad_id=7)

    T["levels"] = word_level(pt.Sequence([pt.WhitespaceSplit(), pt.Punctuation(), pt.Digits(individual_digits=True)]))
    T["levels_digits"] = word_level(pt.Sequence([pt.Digits(), pt.Punctuation("contiguous")]), normalizers.NFKC())
    T["levels_ctc"] = word_level(pt.Split("", "isolated"))
    T["levels_ctc"].decoder = decoders.CTC(pad_token="a", word_delimiter_token="e")
    T["scripts"] = word_level(pt.Sequence([pt.Whitespace(), pt.UnicodeScripts()]))
    T["fixed"] = word_level(pt.FixedLength(length=3))
    T["delimiter"] = word_level(pt.CharDelimiterSplit("e"))
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        T["split_" + behavior] = word_level(pt.Split(Regex(r"\w\s|[aeiou]{1,2}|\p{P}+"), behavior))
        T["split_invert_" + behavior] = word_level(pt.Split(Regex(r"[^\W\d]+|\h"), behavior, invert=True))
        T["split_text_" + behavior] = word_level(pt.Split(" ", behavior))
        T["punctuation_" + behavior] = word_level(pt.Punctuation(behavior))
    T["replaces"] = word_level(pt.WhitespaceSplit(), normalizers.Sequence([normalizers.Replace(Regex(r"(?i)the|\p{Lu}"), "X "), normalizers.Replace("a", ""), normalizers.Strip()]))

    added = Tokenizer.from_str(T["gpt2"].to_str())
    added.normalizer = normalizers.Lowercase()
    added.add_tokens([AddedToken("lower", normalized=True), AddedToken("the", single_word=True, normalized=False), AddedToken("Special", normalized=True, lstrip=True, rstrip=True),
                      AddedToken("  ", normalized=False), AddedToken("fox jumps", normalized=False), AddedToken("fox", normalized=False), AddedToken("\u4e16", rstrip=True, normalized=False)])
    added.add_special_tokens([AddedToken("<s>", special=True), AddedToken("[MASK]", special=True, lstrip=True, rstrip=True)])
    T["added"] = added
    added2 = Tokenizer.from_str(T["bert"].to_str())
    added2.add_tokens([AddedToken("CAF\u00c9", normalized=True), AddedToken("quick brown", normalized=True, single_word=True), AddedToken("##ing", normalized=False)])
    T["added_bert"] = added2
    added3 = Tokenizer.from_str(T["llama2"].to_str())
    added3.add_special_tokens([AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=True)])
    T["added_llama2"] = added3
    for s in site.getsitepackages():
        for p in glob.glob(os.path.join(s, "*minilm*", "**", "tokenizer.json"), recursive=True):
            T["minilm"] = Tokenizer.from_file(p)
            T["minilm"].no_padding()
            T["minilm"].no_truncation()


def main():
    build()
    for name, t in TOKENIZERS.items():
        path = os.path.join(FOLDER, name + ".json")
        t.save(path)
        TOKENIZERS[name] = Tokenizer.from_file(path)
    # Combining marks of Unicode 16 and 17, behind a letter that SentencePiece's map rewrites: one grapheme, which older tables break.
    added_marks = [0x897, *range(0x1ACF, 0x1ADE), *range(0x1AE0, 0x1AEC)]
    texts = [" ".join("the\u017F" + chr(mark) for mark in added_marks)] + [draw_text() for _ in range(NUM_TEXTS)]
    for index, text in enumerate(texts):
        raw = text.encode()
        if rng.random() < 0.1:  # not UTF-8: bytes cut out, put in, changed
            raw = bytearray(raw + b"abc")
            for _ in range(rng.randrange(1, 5)):
                at = rng.randrange(len(raw))
                pick = rng.randrange(3)
                if pick == 0:
                    raw[at] = rng.randrange(128, 256)
                elif pick == 1:
                    raw.insert(at, rng.randrange(128, 256))
                elif len(raw) > 1:
                    del raw[at]
            raw = bytes(raw)
        seen = raw.decode("utf-8", "replace")
        valid = seen.encode() == raw
        pair = draw_text()
        begins = [0]
        for c in seen:
            begins.append(begins[-1] + len(c.encode()))
        pair_begins = [0]
        for c in pair:
            pair_begins.append(pair_begins[-1] + len(c.encode()))
        for name, t in TOKENIZERS.items():
            # Where characters are dropped, the library's offsets fall behind.
            has_offsets = valid and name != "llama2_no_unk"
            special = rng.random() < 0.7
            case = {"tokenizer": name, "text": base64.b64encode(raw).decode(), "special": special, "has_offsets": has_offsets}
            try:
                e = t.encode(seen, add_special_tokens=special)
            except Exception as error:
                case["error"] = str(error)
                print(json.dumps(case))
                continue
            case.update(ids=e.ids, type_ids=e.type_ids, special_mask=e.special_tokens_mask, attention_mask=e.attention_mask,
                        offsets=[[begins[a], begins[b]] for a, b in e.offsets])
            ids = e.ids if rng.random() < 0.8 else [i for i in (rng.randrange(t.get_vocab_size()) for _ in range(rng.randrange(20))) if t.id_to_token(i) is not None]
            # Byte-level tokens mean the same wherever they stand, so that decoding one by one gives the same text.
            case.update(streams=isinstance(t.decoder, decoders.ByteLevel), decode=ids, decoded=t.decode(ids), decoded_special=t.decode(ids, skip_special_tokens=False))
            if index % 4 == 0:
                try:
                    e = t.encode(seen, pair, add_special_tokens=special)
                    case["pair"] = dict(text=pair, ids=e.ids, type_ids=e.type_ids, special_mask=e.special_tokens_mask)
                except Exception as error:
                    case["pair"] = dict(text=pair, error=str(error))
            print(json.dumps(case))


if __name__ == "__main__":
    main()
