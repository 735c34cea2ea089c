"""The independent reference of the model tests: Hugging Face transformers.

reference.py make DIR SEED    writes small random checkpoints of every family below DIR, one folder a case, and
                              CASE.expected.safetensors: ids, logits, loss, greedy continuation, grad.NAME
reference.py check DIR...     loads folders that Mobula wrote, each with ours.safetensors (ids, logits, greedy) in it,
                              and fails where transformers computes something else
"""
import os, random, sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.utils.logging.disable_progress_bar()
TOLERANCE = 1e-4


def gpt2(rng, **more):
    heads = rng.choice([1, 3, 5])
    return transformers.GPT2Config(vocab_size=rng.randrange(17, 99), n_positions=rng.randrange(24, 40), n_embd=heads * rng.choice([2, 6, 10]),
                                   n_layer=rng.choice([1, 3]), n_head=heads, bos_token_id=0, eos_token_id=None, **more)


CASES = {
    "gpt2": gpt2,
    "gpt2-variant": lambda rng: gpt2(rng, n_inner=rng.randrange(11, 30), activation_function=rng.choice(["gelu", "relu", "silu"]),
                                     scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False, layer_norm_epsilon=1e-3),
}


def randomize(model, seed):
    """Draws every parameter, biases and norms too: what starts at 0 or 1 would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.1 if p.dim() < 2 else 0.15))
            if p.dim() == 1 and name.endswith("weight"):
                p.add_(1.0)


def greedy(model, prompt, count):
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt):]


def make(directory, seed):
    for index, (name, config) in enumerate(CASES.items()):
        rng = random.Random(f"{seed} {name}")
        model = transformers.AutoModelForCausalLM.from_config(config(rng), attn_implementation="eager").eval().float()
        randomize(model, seed + index)
        length = rng.randrange(9, 21)
        ids = torch.tensor([[rng.randrange(model.config.vocab_size) for _ in range(length)] for _ in range(rng.randrange(1, 4))])
        logits = model(ids).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        out = {"ids": ids, "logits": logits.detach(), "loss": loss.detach(), "greedy": torch.tensor(greedy(model, ids[0, :5].tolist(), 8))}
        for parameter, tensor in model.named_parameters():
            out["grad." + parameter] = tensor.grad
        model.save_pretrained(os.path.join(directory, name))
        save_file({k: v.contiguous().clone() for k, v in out.items()}, os.path.join(directory, name + ".expected.safetensors"))


def check(directories):
    for directory in directories:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
        assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), (directory, report)
        ours = load_file(os.path.join(directory, "ours.safetensors"))
        with torch.no_grad():
            difference = (model(ours["ids"]).logits - ours["logits"]).abs().max().item()
        assert difference <= TOLERANCE, f"{directory}: logits differ by {difference}"
        if "greedy" in ours:
            expected = greedy(model, ours["ids"][0, :5].tolist(), len(ours["greedy"]))
            assert ours["greedy"].tolist() == expected, f"{directory}: {ours['greedy'].tolist()} instead of {expected}"
        print(f"{directory}: transformers agrees within {difference:.2g}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        check(sys.argv[2:])
