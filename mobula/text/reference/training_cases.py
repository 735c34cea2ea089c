"""Trains vocabularies with Hugging Face's library on a file and prints how long a held-out file's encoding is, as the measure
that the trainers of this project are held to.

usage: training_cases.py TRAIN HELD_OUT VOCAB_SIZE OURS...     OURS: folders of trained tokenizers, to be loaded by AutoTokenizer
"""
import json
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers as pt, trainers
from transformers import AutoTokenizer

train, held_out, size = open(sys.argv[1], encoding="utf-8").read(), open(sys.argv[2], encoding="utf-8").read(), int(sys.argv[3])
lines = train.splitlines(keepends=True)


def likelihood(tokenizer, text):
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    return sum(vocab[i][1] for i in tokenizer.encode(text, add_special_tokens=False).ids)


unigram = Tokenizer(models.Unigram())
unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
unigram.pre_tokenizer = pt.Metaspace()
unigram.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=size, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"], show_progress=False))
piece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
piece.normalizer, piece.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pt.BertPreTokenizer()
piece.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
result = {"unigram": {"tokens": len(unigram.encode(held_out).ids), "likelihood": likelihood(unigram, held_out)},
          "wordpiece": {"tokens": len(piece.encode(held_out).ids)}, "ours": []}
for folder in sys.argv[4:]:
    ours = AutoTokenizer.from_pretrained(folder)
    ids = ours(held_out, add_special_tokens=False)["input_ids"]
    entry = {"tokens": len(ids), "size": len(ours), "ids": ids[:2000], "decoded": ours.decode(ids[:200])}
    inner = ours.backend_tokenizer
    if json.loads(inner.to_str())["model"]["type"] == "Unigram":
        entry["likelihood"] = likelihood(inner, held_out)
    result["ours"].append(entry)
print(json.dumps(result))
