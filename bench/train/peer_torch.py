"""The peer of bench_train: the same GPT-2 in PyTorch, eager or compiled.

Reads a checkpoint and the token windows that bench_train wrote, then obeys lines of the named pipe --commands:
"N" runs N training steps and prints one JSON object: losses, and seconds of each step.
"""
import argparse
import json
import math
import os
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in self.c_attn(self.ln_1(x)).split(C, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["n_embd"]
        self.wte, self.wpe = nn.Embedding(config["vocab_size"], width), nn.Embedding(config["n_positions"], width)
        self.blocks = nn.ModuleList(Block(width, config["n_head"]) for _ in range(config["n_layer"]))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, ids, targets):
        x = self.wte(ids) + self.wpe.weight[: ids.size(1)]
        for block in self.blocks:
            x = block(x)
        scores = F.linear(self.ln_f(x), self.wte.weight)  # the tied head
        return F.cross_entropy(scores.float().view(-1, scores.size(-1)), targets.reshape(-1))

    @torch.no_grad()
    def load(self, path):
        tensors = {name.removeprefix("transformer."): t for name, t in load_file(path).items()}
        self.wte.weight.copy_(tensors["wte.weight"])
        self.wpe.weight.copy_(tensors["wpe.weight"])

        def norm(module, name):
            module.weight.copy_(tensors[name + ".weight"])
            module.bias.copy_(tensors[name + ".bias"])

        def linear(module, name):
            module.weight.copy_(tensors[name + ".weight"].t())  # GPT-2 keeps [in, out]
            module.bias.copy_(tensors[name + ".bias"])

        for i, block in enumerate(self.blocks):
            norm(block.ln_1, f"h.{i}.ln_1")
            linear(block.c_attn, f"h.{i}.attn.c_attn")
            linear(block.attn_proj, f"h.{i}.attn.c_proj")
            norm(block.ln_2, f"h.{i}.ln_2")
            linear(block.c_fc, f"h.{i}.mlp.c_fc")
            linear(block.mlp_proj, f"h.{i}.mlp.c_proj")
        norm(self.ln_f, "ln_f")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--commands", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), required=True)
    parser.add_argument("--mode", choices=("eager", "compile"), required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as file:
        model = Gpt2(json.load(file))
    model.load(os.path.join(args.model, "model.safetensors"))
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [dict(params=matrices, weight_decay=0.1), dict(params=vectors, weight_decay=0.0)],
        lr=args.lr, betas=(0.9, 0.99), fused=True)
    windows = torch.from_file(args.tokens, size=os.path.getsize(args.tokens) // 8, dtype=torch.int64)
    windows = windows.view(-1, args.batch, args.context + 1)
    run = torch.compile(model) if args.mode == "compile" else model
    print(json.dumps({"torch": torch.__version__}), flush=True)

    done = 0
    with open(args.commands, encoding="utf-8") as commands:
        for command in commands:
            losses, seconds = [], []
            for _ in range(int(command)):
                window = windows[done % len(windows)]
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
                    loss = run(window[:, :-1], window[:, 1:])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                value = loss.item()
                seconds.append(time.perf_counter() - start)
                losses.append(value if math.isfinite(value) else None)
                done += 1
            print(json.dumps({"losses": losses, "seconds": seconds}), flush=True)


main()
