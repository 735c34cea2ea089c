"""transformers on the model of bench/llm: one JSON object a line. Greedy decode after 128 tokens, prefill of 512, bf16."""
import json, os, time

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, num_key_value_heads=8, intermediate_size=2816,
                     vocab_size=32000, max_position_embeddings=4096, tie_word_embeddings=False)
model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
model.generation_config.eos_token_id = None


def emit(metric, value, batch):
    print(json.dumps({"bench": "llm", "metric": metric, "value": round(value, 2), "unit": "tok/s", "peer": "transformers", "dtype": "bf16",
                      "batch": batch}), flush=True)


with torch.inference_mode():
    ids = torch.randint(3, 32000, (1, 512))
    best = 1e9
    for _ in range(4):
        start = time.perf_counter()
        model(ids, use_cache=True, logits_to_keep=1)
        best = min(best, time.perf_counter() - start)
    emit("prefill_tokens_per_s", 512 / best, 1)
    for batch in (1, 8):
        ids = torch.randint(3, 32000, (batch, 128))
        best = 1e9
        for _ in range(3):
            out = model(ids, use_cache=True, logits_to_keep=1)
            cache, token = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
            start = time.perf_counter()
            for _ in range(32):
                out = model(token, past_key_values=cache, use_cache=True)
                token = out.logits[:, -1].argmax(-1, keepdim=True)
            best = min(best, time.perf_counter() - start)
        emit("decode_tokens_per_s", batch * 32 / best, batch)
