"""The independent reference for checkpoints in other formats: torch.save and the gguf package.

reference_formats.py pytorch DIR SEED   DIR/CASE/pytorch_model.bin (or shards), and CASE.expected.safetensors: the same tensors
reference_formats.py gguf DIR SEED      DIR/CASE.gguf: models of transformers in types of all widths; CASE.expected.safetensors:
                                        ids, logits (of the numbers as the gguf package reads them), tensor.NAME
"""
import os, random, sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from reference import llama_like, randomize

transformers.utils.logging.disable_progress_bar()


def small_llama(rng, config=transformers.LlamaConfig, **more):
    return llama_like(config, rng, **more)


def pytorch(directory, seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(small_llama(rng)).eval().float()
    randomize(model, seed)
    state = model.state_dict()

    def write(case, files, expected):
        folder = os.path.join(directory, case)
        os.makedirs(folder)
        model.config.save_pretrained(folder)
        for name, (content, options) in files.items():
            torch.save(content, os.path.join(folder, name), **options)
        save_file({k: v.contiguous().clone() for k, v in expected.items()}, os.path.join(directory, case + ".expected.safetensors"))
        return folder

    write("plain", {"pytorch_model.bin": (state, {})}, state)
    for protocol in (2, 4, 5):
        write(f"protocol-{protocol}", {"pytorch_model.bin": (dict(state), {"pickle_protocol": protocol})}, state)
    write("wrapped", {"pytorch_model.bin": ({"epoch": 3, "lr": 0.5, "note": "é", "state_dict": state, "history": [1, 2.5, None, True]}, {})}, state)
    parameters = {k: torch.nn.Parameter(v) for k, v in state.items()}
    write("parameters", {"pytorch_model.bin": (parameters, {})}, state)
    # One storage behind all: views with offsets, transposed, in half precision.
    pool = torch.randn(5000)
    views = {"a": pool[17:23], "b": pool[100:148].view(6, 8).t(), "c": pool.half()[3:9], "d": pool.bfloat16().view(50, 100)[7:9, ::3],
             "e": torch.arange(7), "f": torch.tensor(True), "g": torch.tensor(3.0, dtype=torch.float64), "h": torch.zeros(0, 3),
             "i": torch.tensor([1, 255], dtype=torch.uint8)}
    write("views", {"pytorch_model.bin": (views, {})}, views)
    names = sorted(state)
    shards = {f"pytorch_model-0000{i + 1}-of-00002.bin": {n: state[n] for n in names[i::2]} for i in range(2)}
    folder = write("sharded", {k: (v, {}) for k, v in shards.items()}, state)
    with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w") as file:
        import json
        json.dump({"metadata": {}, "weight_map": {n: shard for shard, part in shards.items() for n in part}}, file)


class Quantizer:
    """Writes a tensor in a type, and gives what the gguf package reads back. K types, which it can't write, get random blocks."""

    def __init__(self, rng):
        self.rng = np.random.default_rng(rng.randrange(1 << 30))

    def blocks(self, tensor, kind):
        numbers = tensor.numpy().astype(np.float32)
        kinds = gguf.GGMLQuantizationType
        if kind == kinds.F32:
            return numbers
        if kind == kinds.F16:
            return numbers.astype(np.float16)
        if kind in (kinds.Q4_K, kinds.Q6_K):
            block_size, type_size = gguf.GGML_QUANT_SIZES[kind]
            count = numbers.size // block_size
            raw = self.rng.integers(0, 256, (count, type_size), dtype=np.uint8)
            scale = np.frombuffer(np.float16(0.002 if kind == kinds.Q4_K else 0.00004).tobytes(), np.uint8)
            if kind == kinds.Q4_K:
                raw[:, 0:2], raw[:, 2:4] = scale, np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
            else:
                raw[:, 208:210] = scale
            return raw.reshape(*numbers.shape[:-1], -1)
        return gguf.quants.quantize(numbers, kind)

    def numbers(self, blocks, kind):
        kinds = gguf.GGMLQuantizationType
        if kind in (kinds.F32, kinds.F16):
            return blocks.astype(np.float32)
        return gguf.quants.dequantize(blocks, kind)


NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "post_attention_layernorm": "ffn_norm"}
GEMMA_NAMES = {**NAMES, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(name, names):
    stem, end = name.rsplit(".", 1)
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}.get(stem)
    if top:
        return f"{top}.{end}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{names[part]}.{end}"


def interleave(weights, heads):
    """As the converter of llama.cpp lays the rows of queries and keys out."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def undo_interleave(weights, heads):
    return weights.reshape(heads, weights.shape[0] // heads // 2, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def write_gguf(directory, case, architecture, config, kind, seed, scaling=None, factors=None):
    rng = random.Random(f"{seed} {case}")
    model = transformers.AutoModelForCausalLM.from_config(config(rng), attn_implementation="eager").eval().float()
    randomize(model, seed)
    c = model.config
    heads, kv_heads = c.num_attention_heads, c.num_key_value_heads
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // heads
    writer = gguf.GGUFWriter(os.path.join(directory, case + ".gguf"), architecture)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_eos_token_id(2)
    if scaling:
        writer.add_rope_scaling_type(scaling)
        writer.add_rope_scaling_factor(c.rope_parameters["factor"])
        if "original_max_position_embeddings" in c.rope_parameters:
            writer.add_rope_scaling_orig_ctx_len(c.rope_parameters["original_max_position_embeddings"])
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
        writer.add_sliding_window(c.sliding_window)
    quantizer, expected = Quantizer(rng), {}
    block = gguf.GGML_QUANT_SIZES[kind][0]
    state = model.state_dict()
    for name, tensor in state.items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        numbers = tensor.numpy()
        count = heads if ".q_proj." in name else kv_heads if ".k_proj." in name else 0
        interleaved = architecture == "llama" and count > 0
        if interleaved:
            numbers = interleave(numbers, count)
        if architecture == "gemma2" and name.endswith("norm.weight"):
            numbers = numbers + 1
        fits = tensor.dim() == 2 and tensor.shape[-1] % block == 0
        used = kind if fits else gguf.GGMLQuantizationType.F32
        blocks = quantizer.blocks(torch.from_numpy(np.ascontiguousarray(numbers)), used)
        writer.add_tensor(gguf_name(name, GEMMA_NAMES if architecture == "gemma2" else NAMES), blocks, raw_dtype=used)
        read = quantizer.numbers(blocks, used)
        if interleaved:
            read = undo_interleave(read, count)
        if architecture == "gemma2" and name.endswith("norm.weight"):
            read = read - 1
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(read)))
        expected["tensor." + name] = tensor.clone()
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ids = torch.tensor([[rng.randrange(c.vocab_size) for _ in range(15)]])
    with torch.no_grad():
        expected.update(ids=ids, logits=model(ids).logits.contiguous())
    save_file(expected, os.path.join(directory, case + ".expected.safetensors"))


def llama3_factors(config):
    """What llama.cpp's converter writes as rope_freqs for Llama 3's scaling."""
    plain = transformers.LlamaConfig(**{**config.to_dict(), "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"]}})
    module = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding
    return (module(plain).inv_freq / module(config).inv_freq).tolist()


def make_gguf(directory, seed):
    kinds = gguf.GGMLQuantizationType
    wide = dict(hidden_size=256, intermediate_size=256, num_attention_heads=4, num_key_value_heads=2, head_dim=64, num_hidden_layers=2)
    for kind in (kinds.F32, kinds.F16, kinds.BF16, kinds.Q8_0, kinds.Q4_0, kinds.Q4_K, kinds.Q6_K):
        write_gguf(directory, f"llama-{kind.name}", "llama", lambda rng: small_llama(rng, **wide), kind, seed)
    write_gguf(directory, "llama-biases", "llama", lambda rng: small_llama(rng, attention_bias=True, tie_word_embeddings=True), kinds.F32, seed)
    write_gguf(directory, "llama-linear", "llama", lambda rng: small_llama(rng, rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}), kinds.F32, seed,
               scaling=gguf.RopeScalingType.LINEAR)
    write_gguf(directory, "llama-yarn", "llama", lambda rng: small_llama(rng, rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24, "rope_theta": 300.0}),
               kinds.F32, seed, scaling=gguf.RopeScalingType.YARN)
    llama3 = lambda rng: small_llama(rng, rope_parameters={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                           "original_max_position_embeddings": 20, "rope_theta": 100.0})
    write_gguf(directory, "llama-factors", "llama", llama3, kinds.F32, seed, factors=llama3_factors(llama3(random.Random(f"{seed} llama-factors"))))
    write_gguf(directory, "qwen2", "qwen2", lambda rng: small_llama(rng, transformers.Qwen2Config, head_dim=None, num_attention_heads=4, num_key_value_heads=2, hidden_size=24), kinds.F32, seed)
    write_gguf(directory, "qwen3", "qwen3", lambda rng: small_llama(rng, transformers.Qwen3Config), kinds.F32, seed)
    write_gguf(directory, "gemma2", "gemma2", lambda rng: small_llama(rng, transformers.Gemma2Config, sliding_window=5, num_hidden_layers=3, head_dim=10, query_pre_attn_scalar=10,
                                                                      tie_word_embeddings=True), kinds.F32, seed)


if __name__ == "__main__":
    {"pytorch": pytorch, "gguf": make_gguf}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
