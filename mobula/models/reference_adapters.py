"""The independent reference for adapters: Hugging Face PEFT.

reference_adapters.py make DIR SEED   DIR/CASE/model, DIR/CASE/adapter, and DIR/CASE/expected.safetensors: ids, logits with
                                      the adapter, plain ones without, merged.NAME
reference_adapters.py make-t5 DIR SEED   the same for T5: ids, decoder_ids, logits, plain, rounding
reference_adapters.py check DIR...    folders with model, ours (an adapter that Mobula wrote) and expected.safetensors: fails
                                      where PEFT computes other logits from ours
"""
import os, random, sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import warnings

warnings.simplefilter("ignore")
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from reference import bloom, gpt2, llama, llama_like, moved_by_rounding, neox, opt, randomize

transformers.utils.logging.disable_progress_bar()
TOLERANCE = 1e-4
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(**more):
    return lambda rng: peft.LoraConfig(**{**dict(r=rng.choice([1, 3, 8]), lora_alpha=rng.choice([2, 5, 16]), target_modules=ALL), **more})


def ia3(**more):
    return lambda rng: peft.IA3Config(**more)


# Wider than gpt2 alone: a LayerNorm over two values leaves nothing but their order, which an adapter hardly changes.
wide_gpt2 = lambda rng: gpt2(rng, n_embd=30)
phi3 = lambda rng: llama_like(transformers.Phi3Config, rng, head_dim=None, num_attention_heads=2, num_key_value_heads=1, hidden_size=20, sliding_window=None)
CASES = {
    "lora": (llama, lora()),
    "lora-patterns": (llama, lora(rank_pattern={"q_proj": 5, r"layers\.1\.mlp\.up_proj": 2}, alpha_pattern={"q_proj": 7, "mlp.down_proj": 3, r".*\.1\..*v_proj": 9}, r=4)),
    "rslora": (llama, lora(use_rslora=True, target_modules="all-linear")),
    "dora": (lambda rng: llama(rng, attention_bias=True, mlp_bias=True), lora(use_dora=True)),
    "dora-rslora": (llama, lora(use_dora=True, use_rslora=True)),
    "ia3": (lambda rng: llama(rng, attention_bias=True), ia3(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "gpt2": (wide_gpt2, lora(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    "gpt2-dora": (wide_gpt2, lora(target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True, use_dora=True)),
    "gpt2-ia3": (wide_gpt2, ia3(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True)),
    "neox": (neox, lora(target_modules=["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"])),
    "neox-dora": (neox, lora(target_modules=["query_key_value"], use_dora=True)),
    "bloom-ia3": (lambda rng: bloom(rng), ia3(target_modules=["query_key_value", "mlp.dense_4h_to_h"], feedforward_modules=["mlp.dense_4h_to_h"])),
    "phi3": (phi3, lora(target_modules=["qkv_proj", "gate_up_proj", "down_proj"])),
    "opt-350m": (lambda rng: opt(rng, do_layer_norm_before=False, word_embed_proj_dim=7, hidden_size=18, num_attention_heads=3), lora(target_modules="all-linear")),
    "bloom-variant-dora": (lambda rng: bloom(rng, apply_residual_connection_post_layernorm=True), lora(target_modules="all-linear", use_dora=True)),
    "merge-embeddings": (llama, lora(target_modules=["embed_tokens", "v_proj"])),
    "merge-norms": (llama, lora(modules_to_save=["norm"])),
    "merge-biases": (lambda rng: llama(rng, attention_bias=True), lora(bias="all")),
}


def change_adapter(tuned, seed):
    """Draws the adapter's parameters, which start as if there was none."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, tensor in tuned.named_parameters():
            if any(part in parameter for part in ("lora_A", "lora_B", "lora_embedding", "modules_to_save")) or (tensor.requires_grad and parameter.endswith("bias")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
            elif "magnitude" in parameter or "ia3_l" in parameter:
                tensor.mul_(1 + 0.3 * torch.randn(tensor.shape, generator=generator))


def make(directory, seed):
    for index, (name, (config, adapter)) in enumerate(CASES.items()):
        rng = random.Random(f"{seed} {name}")
        model = transformers.AutoModelForCausalLM.from_config(config(rng), attn_implementation="eager").eval().float()
        randomize(model, seed + index)
        folder = os.path.join(directory, name)
        model.save_pretrained(os.path.join(folder, "model"))
        length = rng.randrange(9, 20)
        ids = torch.tensor([[rng.randrange(model.config.vocab_size) for _ in range(length)] for _ in range(2)])
        with torch.no_grad():
            plain = model(ids).logits
        tuned = peft.get_peft_model(model, adapter(rng)).eval()
        change_adapter(tuned, seed + index)
        tuned.save_pretrained(os.path.join(folder, "adapter"))
        with torch.no_grad():
            out = {"ids": ids, "logits": tuned(ids).logits, "plain": plain}
            merged = tuned.merge_and_unload()
            for parameter, tensor in merged.state_dict().items():
                if not (parameter == "lm_head.weight" and merged.config.tie_word_embeddings):
                    out["merged." + ("embed_out.weight" if name.startswith("neox") and parameter == "lm_head.weight" else parameter)] = tensor
        save_file({k: v.detach().contiguous().clone() for k, v in out.items()}, os.path.join(folder, "expected.safetensors"))


T5_CASES = {
    "lora": lora(target_modules=["q", "v"]),
    "rslora-all": lora(use_rslora=True, target_modules="all-linear"),
    "dora": lora(use_dora=True, target_modules=["k", "o", "wi", "wo"]),
    "ia3": ia3(target_modules=["k", "v", "wo"], feedforward_modules=["wo"]),
    "norms": lora(target_modules=["q"], modules_to_save=["final_layer_norm"]),
}


def make_t5(directory, seed):
    for index, (name, adapter) in enumerate(T5_CASES.items()):
        rng = random.Random(f"{seed} t5 {name}")
        config = transformers.T5Config(vocab_size=rng.randrange(17, 99), d_model=rng.choice([7, 12]), d_kv=5, d_ff=11, num_layers=2, num_heads=3, dropout_rate=0.0, decoder_start_token_id=0)
        model = transformers.T5ForConditionalGeneration(config).eval()
        randomize(model, seed + index)
        folder = os.path.join(directory, name)
        model.save_pretrained(os.path.join(folder, "model"))
        draw = lambda length: torch.tensor([[rng.randrange(2, config.vocab_size) for _ in range(length)] for _ in range(2)])
        ids, decoder_ids = draw(rng.randrange(9, 20)), draw(rng.randrange(3, 9))
        run = lambda m: m(input_ids=ids, decoder_input_ids=decoder_ids).logits
        with torch.no_grad():
            plain = run(model)
        tuned = peft.get_peft_model(model, adapter(rng)).eval()
        change_adapter(tuned, seed + index)
        tuned.save_pretrained(os.path.join(folder, "adapter"))
        with torch.no_grad():
            logits = run(tuned)
            out = {"ids": ids, "decoder_ids": decoder_ids, "plain": plain, "logits": logits, "rounding": torch.tensor(max(moved_by_rounding(tuned, lambda: [run(tuned)])))}
        save_file({k: v.detach().contiguous().clone() for k, v in out.items()}, os.path.join(folder, "expected.safetensors"))


def check(directories):
    for directory in directories:
        model = transformers.AutoModelForCausalLM.from_pretrained(os.path.join(directory, "model"), dtype=torch.float32)
        tuned = peft.PeftModel.from_pretrained(model, os.path.join(directory, "ours")).eval()
        expected = load_file(os.path.join(directory, "expected.safetensors"))
        with torch.no_grad():
            difference = (tuned(expected["ids"]).logits - expected["logits"]).abs().max().item()
        assert difference <= TOLERANCE, f"{directory}: logits differ by {difference}"
        print(f"{directory}: PEFT agrees within {difference:.2g}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "make-t5":
        make_t5(sys.argv[2], int(sys.argv[3]))
    else:
        check(sys.argv[2:])
