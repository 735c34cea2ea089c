"""Trains byte-level BPE with Hugging Face's library on a file and prints the tokens by id, then the merges.

usage: bpe_vocabulary.py FILE VOCAB_SIZE
"""
import json
import sys

from tokenizers import Tokenizer, models, pre_tokenizers as pt, trainers

t = Tokenizer(models.BPE())
t.pre_tokenizer = pt.ByteLevel(add_prefix_space=False)
t.train_from_iterator([open(sys.argv[1], encoding="utf-8", newline="").read()], trainers.BpeTrainer(
    vocab_size=int(sys.argv[2]), initial_alphabet=pt.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"], show_progress=False))
print(json.dumps([t.id_to_token(i) for i in range(t.get_vocab_size())]))
print(json.dumps(json.loads(t.to_str())["model"]["merges"]))
