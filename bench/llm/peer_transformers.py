"""transformers on the model of bench/llm: one JSON object a line.

usage: peer_transformers.py FOLDER bf16 [--no-prefill] [--batch N]...    FOLDER holds the checkpoint that bench_llm wrote
"""
import argparse
import json
import os
import time

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import transformers

transformers.utils.logging.disable_progress_bar()
parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("dtype", choices=["bf16"])
parser.add_argument("--no-prefill", action="store_true")
parser.add_argument("--batch", type=int, action="append", default=[])
options = parser.parse_args()


def emit(metric, value, unit, batch):
    print(json.dumps({"bench": "llm", "metric": metric, "value": round(value, 2), "unit": unit, "peer": "transformers", "dtype": options.dtype,
                      "batch": batch}), flush=True)


start = time.perf_counter()
model = transformers.AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.bfloat16).eval()
emit("load_ms", 1e3 * (time.perf_counter() - start), "ms", 1)
with torch.inference_mode():
    if not options.no_prefill:
        ids = torch.randint(3, model.config.vocab_size, (1, 512))
        best = 1e9
        for _ in range(4):
            start = time.perf_counter()
            model(ids, use_cache=True, logits_to_keep=1)
            best = min(best, time.perf_counter() - start)
        emit("prefill_tokens_per_s", 512 / best, "tok/s", 1)
    for batch in options.batch or [1, 8]:
        ids = torch.randint(3, model.config.vocab_size, (batch, 128))
        best = 1e9
        for _ in range(3):
            out = model(ids, use_cache=True, logits_to_keep=1)
            cache, token = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
            start = time.perf_counter()
            for _ in range(32):
                out = model(token, past_key_values=cache, use_cache=True)
                token = out.logits[:, -1].argmax(-1, keepdim=True)
            best = min(best, time.perf_counter() - start)
        emit("decode_tokens_per_s", batch * 32 / best, "tok/s", batch)
