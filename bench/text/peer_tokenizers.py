"""The peers of bench_text: Hugging Face's tokenizers and tiktoken.

usage: peer_tokenizers.py train TEXT FOLDER             trains the vocabularies, FOLDER/CASE.json, and measures that
       peer_tokenizers.py measure TEXT FOLDER THREADS   measures encoding and decoding with them

Prints JSON lines like bench_text itself.
"""
import glob
import json
import os
import site
import sys
import time

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def emit(peer, metric, value, unit, case):
    print(json.dumps({"bench": "text", "metric": metric, "value": round(value, 4), "unit": unit, "peer": peer, "case": case}), flush=True)


def rate(megabytes, run, least=0.6):
    """MB/s of the best of as many runs as fit in the time."""
    best, spent = 1e9, 0.0
    while spent < least:
        begin = time.perf_counter()
        run()
        took = time.perf_counter() - begin
        best, spent = min(best, took), spent + took
    return megabytes / best


def train(text, folder):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers as pt, trainers
    lines = text.splitlines(keepends=True)

    def bpe(pre):
        t = Tokenizer(models.BPE())
        t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
        return t, trainers.BpeTrainer(vocab_size=8192, initial_alphabet=pt.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"], show_progress=False)

    def split(rx):
        return pt.Sequence([pt.Split(Regex(rx), "isolated"), pt.ByteLevel(add_prefix_space=False, use_regex=False)])
    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    unigram.pre_tokenizer, unigram.decoder = pt.Metaspace(), decoders.Metaspace()
    piece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    piece.normalizer = normalizers.BertNormalizer(lowercase=True)
    piece.pre_tokenizer, piece.decoder = pt.BertPreTokenizer(), decoders.WordPiece()
    for name, (tokenizer, trainer) in {
            "gpt2_bpe": bpe(split(GPT2)), "llama3_bpe": bpe(split(LLAMA3)),
            "unigram": (unigram, trainers.UnigramTrainer(vocab_size=8000, unk_token="<unk>", special_tokens=["<s>", "</s>", "<unk>"], show_progress=False)),
            "wordpiece": (piece, trainers.WordPieceTrainer(vocab_size=8192, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))}.items():
        begin = time.perf_counter()
        tokenizer.train_from_iterator(lines, trainer, length=len(lines))
        emit("hf-tokenizers", "train_8k_s", time.perf_counter() - begin, "s", name)
        tokenizer.save(os.path.join(folder, name + ".json"))
    for s in site.getsitepackages():
        for path in glob.glob(os.path.join(s, "*minilm*", "**", "tokenizer.json"), recursive=True):
            tokenizer = Tokenizer.from_file(path)
            tokenizer.no_truncation()
            tokenizer.no_padding()
            tokenizer.save(os.path.join(folder, "minilm_wordpiece.json"))


def measure(text, folder, threads):
    from tokenizers import Tokenizer
    metric = "encode_mb_per_s_1t" if threads == 1 else "encode_mb_per_s_all"
    mb = len(text.encode()) / 1e6
    lines = text.splitlines(keepends=True)
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        name = os.path.basename(path)[:-5]
        t = Tokenizer.from_file(path)
        emit("hf-tokenizers", metric, rate(mb, lambda: t.encode_batch_fast(lines)), "MB/s", name + "/lines")
        whole = [text] * threads
        emit("hf-tokenizers", metric, rate(mb * threads, lambda: t.encode_batch_fast(whole)), "MB/s", name + "/whole")
        if threads == 1:
            ids = t.encode(text).ids
            emit("hf-tokenizers", "decode_mb_per_s", rate(mb, lambda: t.decode(ids)), "MB/s", name)
            with open(os.path.join(folder, name + ".ids"), "w") as f:
                f.write("\n".join(map(str, ids)))
    import tiktoken
    from transformers.convert_slow_tokenizer import bytes_to_unicode
    inverse = {c: b for b, c in bytes_to_unicode().items()}
    for name, rx in (("gpt2_bpe", GPT2), ("llama3_bpe", LLAMA3)):
        vocab = json.load(open(os.path.join(folder, name + ".json")))["model"]["vocab"]
        ranks = {bytes(inverse[c] for c in k): v for k, v in vocab.items() if not k.startswith("<|")}
        e = tiktoken.Encoding(name, pat_str=rx, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": vocab["<|endoftext|>"]})
        emit("tiktoken", metric, rate(mb, lambda: e.encode_ordinary_batch(lines, num_threads=threads)), "MB/s", name + "/lines")
        if threads == 1:
            emit("tiktoken", metric, rate(mb, lambda: e.encode_ordinary(text)), "MB/s", name + "/whole")
            ids = e.encode_ordinary(text)
            emit("tiktoken", "decode_mb_per_s", rate(mb, lambda: e.decode(ids)), "MB/s", name)
        else:
            emit("tiktoken", metric, rate(mb * threads, lambda: e.encode_ordinary_batch([text] * threads, num_threads=threads)), "MB/s", name + "/whole")


if __name__ == "__main__":
    text = open(sys.argv[2], encoding="utf-8").read()
    if sys.argv[1] == "train":
        train(text, sys.argv[3])
    else:
        measure(text, sys.argv[3], int(sys.argv[4]))
