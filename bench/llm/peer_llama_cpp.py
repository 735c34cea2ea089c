"""llama.cpp on the model of bench/llm: one JSON object a line.

usage: peer_llama_cpp.py FOLDER DTYPE [--no-prefill] [--batch N]...

FOLDER holds the safetensors checkpoint that bench_llm wrote; its GGUF files are made there once. DTYPE is bf16, int8 (Q8_0)
or int4 (Q4_0). Decode goes on after 128 tokens, with an argmax over the scores of every step as greedy sampling has it.
"""
import argparse
import ctypes
import json
import os
import time

import llama_cpp
import numpy as np

FILES = {"bf16": "bf16", "int8": "q8_0", "int4": "q4_0"}
PARTS = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(folder):
    import gguf
    from safetensors import safe_open
    config = json.load(open(os.path.join(folder, "config.json")))
    heads, kv_heads, vocabulary = config["num_attention_heads"], config["num_key_value_heads"], config["vocab_size"]
    writer = gguf.GGUFWriter(os.path.join(folder, "bf16.gguf"), "llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocabulary)
    # A vocabulary that is never used: three special tokens, all bytes, then words.
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)] + [("\u2581w%d" % i).encode() for i in range(vocabulary - 259)])
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(vocabulary - 259)])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (vocabulary - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def in_its_rotary_order(w, count):
        return w.reshape(count, 2, w.shape[0] // count // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

    import torch
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as file:
        for name in file.keys():
            tensor, bare = file.get_tensor(name), name.removesuffix(".weight")
            if bare in WHOLE:
                theirs = WHOLE[bare]
            else:
                _, _, layer, part = bare.split(".", 3)
                theirs = f"blk.{layer}.{PARTS[part]}"
            if theirs.endswith("attn_q"):
                tensor = in_its_rotary_order(tensor, heads)
            if theirs.endswith("attn_k"):
                tensor = in_its_rotary_order(tensor, kv_heads)
            if tensor.dim() == 1:
                writer.add_tensor(theirs + ".weight", tensor.float().numpy())
            else:
                words = tensor.to(torch.bfloat16).contiguous().view(torch.int16).numpy().view(np.uint8)
                writer.add_tensor(theirs + ".weight", words, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_file(folder, kind):
    path = os.path.join(folder, kind + ".gguf")
    if not os.path.exists(os.path.join(folder, "bf16.gguf")):
        write_gguf(folder)
    if not os.path.exists(path):
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}[kind]
        options.nthread, options.pure = 2, False
        if llama_cpp.llama_model_quantize(os.path.join(folder, "bf16.gguf").encode(), path.encode(), ctypes.byref(options)) != 0:
            raise SystemExit(f"{path}: llama.cpp could not write it")
    return path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("dtype", choices=FILES)
    parser.add_argument("--no-prefill", action="store_true")
    parser.add_argument("--prepare", action="store_true", help="only make the files")
    parser.add_argument("--batch", type=int, action="append", default=[])
    options = parser.parse_args()
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    path = make_file(options.folder, FILES[options.dtype])
    if options.prepare:
        return
    start = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    loaded = time.perf_counter() - start

    def emit(metric, value, unit, batch):
        print(json.dumps({"bench": "llm", "metric": metric, "value": round(value, 2), "unit": unit, "peer": "llama.cpp", "dtype": options.dtype,
                          "batch": batch}), flush=True)

    emit("load_ms", 1e3 * loaded, "ms", 1)
    rng = np.random.default_rng(3)
    for batch in options.batch or [1, 8]:
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = 1024 * batch, 1024, 512
        settings.n_threads = settings.n_threads_batch = 2
        settings.n_seq_max = batch
        context = llama_cpp.llama_init_from_model(model, settings)
        rows = llama_cpp.llama_batch_init(1024, 0, batch)

        def put(tokens):
            rows.n_tokens = len(tokens)
            for i, (token, position, sequence, wanted) in enumerate(tokens):
                rows.token[i], rows.pos[i], rows.n_seq_id[i], rows.logits[i] = token, position, 1, wanted
                rows.seq_id[i][0] = sequence
            assert llama_cpp.llama_decode(context, rows) == 0

        def clear():
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)

        if batch == 1 and not options.no_prefill:
            prompt = [(int(t), p, 0, p == 511) for p, t in enumerate(rng.integers(300, vocabulary, 512))]
            best = 1e9
            for _ in range(3):
                clear()
                start = time.perf_counter()
                put(prompt)
                best = min(best, time.perf_counter() - start)
            emit("prefill_tokens_per_s", 512 / best, "tok/s", 1)
        best = 1e9
        for _ in range(3):
            clear()
            for sequence in range(batch):
                put([(int(t), p, sequence, p == 127) for p, t in enumerate(rng.integers(300, vocabulary, 128))])
            start = time.perf_counter()
            for step in range(64):
                put([(300 + step + sequence, 128 + step, sequence, True) for sequence in range(batch)])
                for sequence in range(batch):
                    np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, sequence), shape=(vocabulary,)).argmax()
            best = min(best, time.perf_counter() - start)
        emit("decode_tokens_per_s", batch * 64 / best, "tok/s", batch)
        llama_cpp.llama_batch_free(rows)
        llama_cpp.llama_free(context)


if __name__ == "__main__":
    main()
