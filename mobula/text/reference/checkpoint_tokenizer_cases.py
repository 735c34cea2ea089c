"""Writes checkpoint folders that hold a SentencePiece model and no tokenizer.json, and encodes drawn texts with transformers.

usage: checkpoint_tokenizer_cases.py SEED FOLDER TEXTS

Writes FOLDER/NAME/... and prints one JSON object a text and folder.
"""
import json
import os
import re
import shutil
import sys

import sentencepiece
from transformers import AutoTokenizer, GPT2Tokenizer, LlamaTokenizer, Qwen2Tokenizer

sys.argv, arguments = [sys.argv[0], sys.argv[1], sys.argv[2], "1"], sys.argv
import tokenizer_cases as drawn  # noqa: E402: draws from the seed

FOLDER, NUM_TEXTS = arguments[2], int(arguments[3])
rng = drawn.rng
LLAMA = dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
             split_digits=True, allow_whitespace_only_pieces=True, vocab_size=900)
PLAIN = {"lstrip": False, "rstrip": False, "single_word": False}


def train(name, **options):
    corpus = os.path.join(FOLDER, "corpus.txt")
    with open(corpus, "w", encoding="utf-8") as f:
        common = ["".join(c for c in text if c in drawn.COMMON) for text in drawn.CORPUS]
        f.write("\n".join(line for text in common for line in text.split("\n") if line.strip()))
    model = os.path.join(FOLDER, name)
    sentencepiece.SentencePieceTrainer.Train(input=corpus, model_prefix=model, minloglevel=2, hard_vocab_limit=False,
                                             character_coverage=0.99, **options)
    return model + ".model"


def checkpoint(name, model, family, config, load=AutoTokenizer, file="tokenizer.model", **more):
    folder = os.path.join(FOLDER, name)
    os.makedirs(folder)
    if isinstance(model, str):
        shutil.copy(model, os.path.join(folder, file))
    else:
        model.model.save(folder)  # vocab.json, merges.txt
    files = {"config.json": {"model_type": family}, "tokenizer_config.json": config, **more}
    for path, content in files.items():
        if content is not None:
            with open(os.path.join(folder, path), "w") as f:
                json.dump(content, f)
    # transformers 5 leaves the begin of text out where nothing is said; Llama was trained with it, and version 4 puts it.
    silent = family in ("llama", "mistral") and "add_bos_token" not in (config or {})
    return name, load.from_pretrained(folder, **({"add_bos_token": True} if silent else {}))


def checkpoints():
    llama = train("llama", **LLAMA)
    size = sentencepiece.SentencePieceProcessor(model_file=llama).vocab_size()
    gemma = train("gemma", add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>",
                  bos_piece="<bos>", user_defined_symbols=["<mask>", "<start_of_turn>", "<end_of_turn>", "\n", "\n\n"], **LLAMA)
    t5 = train("t5", model_type="unigram", vocab_size=900, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    special = {"bos_token": {"__type": "AddedToken", "content": "<s>", "normalized": False, **PLAIN}, "eos_token": "</s>", "unk_token": "<unk>"}
    yield checkpoint("llama", llama, "llama", {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True,
                                               "add_eos_token": False, "pad_token": None, **special})
    yield checkpoint("llama_without_settings", llama, "llama", None, LlamaTokenizer)
    yield checkpoint("mistral", llama, "mistral", {"tokenizer_class": "LlamaTokenizerFast", "add_eos_token": True, "add_bos_token": False,
                                                   **special}, LlamaTokenizer)
    added = {str(size): {"content": "[INST]", "special": True, "normalized": False, **PLAIN},
             str(size + 1): {"content": " [/INST]", "special": False, "normalized": False, **PLAIN, "rstrip": True},
             "0": {"content": "<unk>", "special": True, "normalized": False, **PLAIN}}
    yield checkpoint("added", llama, "llama", {"tokenizer_class": "LlamaTokenizer", "legacy": False, "added_tokens_decoder": added,
                                               "additional_special_tokens": ["[INST]", "<|more|>"], "pad_token": "<pad>", **special})
    yield checkpoint("legacy", llama, "llama", {"tokenizer_class": "LlamaTokenizer", "legacy": True, **special})
    yield checkpoint("gemma", gemma, "gemma2", {"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>",
                                                "pad_token": "<pad>", "unk_token": "<unk>", "add_bos_token": True})
    yield checkpoint("t5", t5, "t5", {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
                                      "extra_ids": 100}, file="spiece.model")
    yield checkpoint("t5_without_settings", t5, "t5", None, file="spiece.model")


    gpt2 = drawn.bpe(drawn.split(drawn.GPT2), special=("<|endoftext|>", "<pad>", "</s>"))
    qwen2 = drawn.bpe(drawn.split(drawn.QWEN2), special=())
    size = qwen2.get_vocab_size()
    chatml = {str(size + i): {"content": token, "special": True, "normalized": False, **PLAIN}
              for i, token in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])}
    yield checkpoint("gpt2", gpt2, "gpt2", None, GPT2Tokenizer)
    yield checkpoint("opt", gpt2, "opt", {"tokenizer_class": "GPT2Tokenizer", "unk_token": "</s>", "bos_token": "</s>", "eos_token": "</s>",
                                          "pad_token": "<pad>", "add_prefix_space": False, "add_bos_token": True}, GPT2Tokenizer)
    yield checkpoint("prefix", gpt2, "gpt2", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}, GPT2Tokenizer)
    yield checkpoint("qwen2", qwen2, "qwen2", {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": chatml, "eos_token": "<|im_end|>",
                                               "pad_token": "<|endoftext|>", "bos_token": None, "unk_token": None}, Qwen2Tokenizer)


MARKS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<unk>", "<pad>", "[INST]", " [/INST]", "<|more|>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>",
         "<extra_id_0>", "<extra_id_99>", "<0x0A>", "\u2581"]


def draw(legacy):
    parts = []
    for _ in range(rng.randrange(1, 5)):
        parts.append("".join(c for c in drawn.draw_text() if c in drawn.COMMON or rng.random() < 0.2))
        parts.append(rng.choice(MARKS))
    text = "".join(parts[:-1] if rng.random() < 0.5 else parts)
    # transformers 5 puts no space in front of texts that begin with one; the models were trained as SentencePiece does it.
    return re.sub("(^|<s>|</s>|<unk>|<pad>)[ \u2581]+", r"\1", text) if legacy else text


def main():
    for name, tokenizer in checkpoints():
        for _ in range(NUM_TEXTS):
            text = draw(name == "legacy")
            ids = tokenizer.encode(text)
            print(json.dumps({"folder": name, "text": text, "ids": ids, "bare": tokenizer.encode(text, add_special_tokens=False),
                              "decoded": tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)}))


if __name__ == "__main__":
    main()
