"""`mobula model quantize` beside compressed-tensors and bitsandbytes, read by transformers and PEFT, and theirs read by us."""
import json
import random
import unittest
import warnings

import bitsandbytes
import torch
import transformers
from safetensors.torch import load_file

from mobula_program import ProgramTest

warnings.simplefilter("ignore")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
SEED = random.randrange(100000)
print(f"seed {SEED}")
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def draw(family="llama", width=64, **more):
    torch.manual_seed(SEED)
    sizes = dict(vocab_size=67, hidden_size=2 * width, intermediate_size=3 * width, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
                 bos_token_id=0, eos_token_id=None, pad_token_id=None)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **{**sizes, **more})).eval().float()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.1)
    return model


def nf4(**more):
    return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32, **more)


class Quantize(ProgramTest):
    def near(self, ours, wanted, tolerance=1e-4):
        self.assertLessEqual((torch.as_tensor(ours) - torch.as_tensor(wanted)).abs().max().item(), tolerance)

    def logits(self, folder):
        answer = self.mobula_json("logits", "--model", folder, "--ids", ",".join(map(str, IDS)))
        return torch.tensor(answer["logits"]).reshape(answer["shape"])[-len(IDS):].reshape(len(IDS), -1)

    def theirs(self, model):
        # Outside of training, bitsandbytes computes in bfloat16 whatever it is told.
        for module in model.modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                module.training = True
        with torch.no_grad():
            return model(torch.tensor([IDS])).logits[0].float()

    def load(self, folder):
        return transformers.AutoModelForCausalLM.from_pretrained(self.folder / folder, dtype="auto").eval()

    def scores(self, folder, *more):
        return self.mobula_json("score", "--model", folder, "--ids", ",".join(map(str, IDS)), *more)["logprobs"][1:]

    def logprobs(self, logits):
        logprobs = logits.log_softmax(-1)
        return [logprobs[i - 1, IDS[i]].item() for i in range(1, len(IDS))]

    def test_what_is_written_is_what_transformers_reads(self):
        # Rotated heads apart, queries and keys in one matrix, gate and up in one matrix.
        for family, more in {"llama": dict(num_key_value_heads=2), "gpt_neox": {}, "phi3": dict(num_key_value_heads=2), "qwen3": dict(head_dim=32, num_key_value_heads=1)}.items():
            draw(family, **more).save_pretrained(self.folder / family)
            for dtype in ("int8", "int4", "nf4"):
                with self.subTest(family=family, dtype=dtype):
                    out = f"{family}-{dtype}"
                    said = self.mobula_json("model", "quantize", family, out, "--dtype", dtype)
                    self.assertEqual(said["transformers_needs"], "bitsandbytes" if dtype == "nf4" else "compressed-tensors")
                    self.assertLess(said["relative_error"], 0.02 if dtype == "int8" else 0.15)
                    theirs = self.theirs(self.load(out))
                    self.near(self.logits(out), theirs)
                    # The engine's kernels round what goes in to 8 bits; with NF4 they compute in the model's type.
                    self.near(self.scores(out), self.logprobs(theirs), 1e-4 if dtype == "nf4" else 0.1)
        # A head in 8 bits, one of its own and one that is the table of embeddings.
        for family, tied in (("llama", False), ("qwen3", True)):
            name = f"{family}-tied-{tied}"
            draw(family, vocab_size=80, num_key_value_heads=2, tie_word_embeddings=tied).save_pretrained(self.folder / name)
            for dtype in ("int8", "int4"):
                with self.subTest(family=family, dtype=dtype, tied=tied):
                    out = f"{name}-{dtype}"
                    said = self.mobula_json("model", "quantize", name, out, "--dtype", dtype, "--head", "int8")
                    self.assertEqual(said["quantized"], 2 * 7 + 1)
                    self.assertEqual(load_file(self.folder / out / "model.safetensors")["lm_head.weight_packed"].shape, (80, 128 // 4))
                    theirs = self.theirs(self.load(out))
                    self.near(self.logits(out), theirs)
                    self.near(self.scores(out), self.logprobs(theirs), 0.1)
        # The numbers themselves, as anybody reads them.
        self.mobula("model", "convert", "llama-int4", "plain")
        self.near(self.logits("plain"), self.logits("llama-int4"))
        self.near(self.theirs(self.load("plain")), self.logits("llama-int4"))
        self.mobula("model", "quantize", "llama", "sharded", "--dtype", "int4", "--shard-size", "30kB")
        self.assertGreater(len(list((self.folder / "sharded").glob("model-*.safetensors"))), 3)
        self.near(self.logits("sharded"), self.logits("llama-int4"), 0)

    def test_nf4_has_the_bits_of_bitsandbytes_and_carries_adapters(self):
        import peft
        base = draw(num_key_value_heads=1, intermediate_size=131)
        base.save_pretrained(self.folder / "base")
        self.mobula("model", "quantize", "base", "ours", "--dtype", "nf4")
        for double in (False, True):
            name = f"theirs-{double}"
            theirs = transformers.AutoModelForCausalLM.from_pretrained(self.folder / "base", quantization_config=nf4(bnb_4bit_use_double_quant=double)).eval()
            theirs.save_pretrained(self.folder / name)
            self.near(self.logits(name), self.theirs(theirs))
            tuned = peft.get_peft_model(theirs, peft.LoraConfig(r=3, lora_alpha=9, use_rslora=double, target_modules=["q_proj", "down_proj"])).eval()
            with torch.no_grad():
                for parameter, p in tuned.named_parameters():
                    if "lora_B" in parameter:
                        p.copy_(torch.randn(p.shape) * 0.1)
            tuned.save_pretrained(self.folder / f"adapter-{double}")
            self.near(self.scores(name, "--adapter", f"adapter-{double}"), self.logprobs(self.theirs(tuned)))
            self.mobula("model", "merge", name, "--adapter", f"adapter-{double}", "--out", f"merged-{double}")
            self.near(self.scores(f"merged-{double}"), self.logprobs(self.theirs(tuned)))
        ours, stored = (load_file(self.folder / f / "model.safetensors") for f in ("ours", "theirs-False"))
        self.assertEqual(ours.keys(), stored.keys())
        for name, tensor in stored.items():
            if "quant_state" not in name:
                self.assertTrue(torch.equal(ours[name], tensor), name)

    def test_refusals_and_what_is_left_whole(self):
        draw(num_key_value_heads=2, intermediate_size=100).save_pretrained(self.folder / "odd")
        done = self.mobula_json("model", "quantize", "odd", "out", "--dtype", "int4")
        self.assertEqual(done["quantized"], 2 * 6)  # down_proj has 100 inputs
        self.near(self.logits("out"), self.theirs(self.load("out")))
        self.fails("model", "quantize", "out", "x", code=2, error="quantized already", hint="convert")
        self.fails("model", "quantize", "odd", "out", code=1, error="in the way")
        self.fails("model", "quantize", "odd", "x", "--dtype", "int3", code=2, error="int3")
        self.fails("model", "quantize", "odd", "x", "--head", "int4", code=2, error="int4", hint="whole")
        self.fails("model", "quantize", "odd", "x", "--head", "int8", "--dtype", "nf4", code=2, error="bitsandbytes")
        draw("gpt2", n_embd=64, n_head=2, n_layer=1).save_pretrained(self.folder / "gpt2")
        self.fails("model", "quantize", "gpt2", "x", code=1, error="inputs first", hint="--dtype int8")
        config = json.loads((self.folder / "out" / "config.json").read_text())
        for key, value, named in [("quant_method", "gptq", "gptq"), ("format", "int-quantized", "int-quantized"), ("quant_method", None, "quant_method")]:
            changed = {**config, "quantization_config": {**config["quantization_config"], key: value}}
            (self.folder / "out" / "config.json").write_text(json.dumps(changed))
            self.fails("score", "--model", "out", "--ids", "1,2", code=1, error=named)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["gpt2", "odd", "out"])


if __name__ == "__main__":
    unittest.main()
