"""Trains SentencePiece models and tiktoken vocabularies and encodes drawn texts with those libraries.

usage: other_files_cases.py SEED FOLDER TEXTS

Writes FOLDER/NAME.model and FOLDER/NAME.tiktoken and prints one JSON object a text and tokenizer.
"""
import base64
import json
import os
import sys

import sentencepiece
import tiktoken

sys.argv, arguments = [sys.argv[0], sys.argv[1], sys.argv[2], "1"], sys.argv
import tokenizer_cases as drawn  # noqa: E402: draws from the seed

FOLDER, NUM_TEXTS = arguments[2], int(arguments[3])
rng = drawn.rng


def train(name, **options):
    common = ["".join(c for c in text if c in drawn.COMMON) for text in drawn.CORPUS]
    lines = [line for text in common for line in text.split("\n") if line.strip()]
    with open(os.path.join(FOLDER, "corpus.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines))
    settings = dict(vocab_size=1200, minloglevel=2, character_coverage=0.99, input=os.path.join(FOLDER, "corpus.txt"))
    settings.update(options)
    settings["hard_vocab_limit"] = settings.get("model_type") == "bpe"  # what only the unigram trainer may fall short of
    sentencepiece.SentencePieceTrainer.Train(model_prefix=os.path.join(FOLDER, name), **settings)
    return sentencepiece.SentencePieceProcessor(model_file=os.path.join(FOLDER, name + ".model"))


def sentencepieces():
    symbols = ["<sep>", "fox jumps", "the", "\u4e16\u754c", "\u2581lazy", "quick\u2581brown"]
    yield "unigram", train("unigram")
    yield "unigram_fallback", train("unigram_fallback", byte_fallback=True)
    yield "unigram_identity", train("unigram_identity", normalization_rule_name="identity", remove_extra_whitespaces=False)
    yield "unigram_symbols", train("unigram_symbols", user_defined_symbols=symbols, control_symbols=["<mask>"], pad_id=3)
    yield "unigram_suffix", train("unigram_suffix", treat_whitespace_as_suffix=True, normalization_rule_name="nfkc_cf")
    yield "unigram_across", train("unigram_across", split_by_whitespace=False, add_dummy_prefix=False)
    yield "bpe", train("bpe", model_type="bpe")
    yield "bpe_llama", train("bpe_llama", model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                             remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True)
    yield "bpe_symbols", train("bpe_symbols", model_type="bpe", user_defined_symbols=symbols, byte_fallback=True)
    yield "bpe_across", train("bpe_across", model_type="bpe", split_by_whitespace=False, normalization_rule_name="nmt_nfkc_cf")
    yield "bpe_suffix", train("bpe_suffix", model_type="bpe", treat_whitespace_as_suffix=True)


def tiktokens():
    from transformers.convert_slow_tokenizer import bytes_to_unicode
    inverse = {c: b for b, c in bytes_to_unicode().items()}
    own = {
        "r50k": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
        "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        "o200k": "|".join([
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"]),
        r"[a-z]+|[^a-z]": r"[a-z]+|[^a-z]",
        r"\p{L}+|\d": r"\p{L}+|\d",
    }
    for number, (pattern, regex) in enumerate(own.items()):
        t = drawn.bpe(drawn.split(drawn.GPT2 if number == 0 else drawn.LLAMA3), special=())
        vocab = t.get_vocab()
        ranks = {bytes(inverse[c] for c in token): rank for token, rank in vocab.items()}
        special = {"<|endoftext|>": len(ranks) + 3, "<s>": len(ranks)}
        name = f"tiktoken{number}"
        with open(os.path.join(FOLDER, name + ".tiktoken"), "wb") as f:
            for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
                f.write(base64.b64encode(token) + b" " + str(rank).encode() + b"\n")
        yield name, pattern, special, tiktoken.Encoding(name, pat_str=regex, mergeable_ranks=ranks, special_tokens=special)


def main():
    models = list(sentencepieces())
    encodings = list(tiktokens())
    for _ in range(NUM_TEXTS):
        text = drawn.draw_text().replace("\x00", "\x01") if rng.random() < 0.5 else drawn.draw_text()
        raw = text.encode()
        if rng.random() < 0.1:
            raw = bytearray(raw + b"abc")
            raw[rng.randrange(len(raw))] = rng.randrange(128, 256)
            raw = bytes(raw)
        seen = raw.decode("utf-8", "replace")
        case = {"text": base64.b64encode(raw).decode()}
        for name, sp in models:
            ids = sp.encode(seen)
            decode = ids if rng.random() < 0.7 else [rng.randrange(sp.vocab_size()) for _ in range(rng.randrange(12))]
            print(json.dumps({**case, "file": name + ".model", "ids": ids, "decode": decode, "decoded": sp.decode(decode)}))
        for name, pattern, special, encoding in encodings:
            ids = encoding.encode(seen, allowed_special="all")
            print(json.dumps({**case, "file": name + ".tiktoken", "pattern": pattern, "special": special, "ids": ids, "decode": ids,
                              "decoded": encoding.decode(ids)}))


if __name__ == "__main__":
    main()
