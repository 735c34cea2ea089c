"""`mobula model`, adapters and GGUF files on checkpoints that transformers, PEFT and the gguf package write."""
import json
import pathlib
import random
import sys
import unittest
import warnings

import torch
import transformers

from mobula_program import DATA, SOURCE, ProgramTest
from model_server import Server

sys.path.insert(0, str(SOURCE / "mobula" / "models"))
warnings.simplefilter("ignore")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
SEED = random.randrange(100000)
print(f"seed {SEED}")
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def llama(**more):
    torch.manual_seed(SEED)
    config = transformers.LlamaConfig(**{**dict(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                                num_key_value_heads=2, max_position_embeddings=64, eos_token_id=None), **more})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.1)
    return model


class Model(ProgramTest):
    def scores(self, folder, *more):
        return self.mobula_json("score", "--model", folder, "--ids", ",".join(map(str, IDS)), *more)["logprobs"][1:]

    def wanted(self, model):
        with torch.no_grad():
            logprobs = model(torch.tensor([IDS])).logits[0].log_softmax(-1)
        return [logprobs[i - 1, IDS[i]].item() for i in range(1, len(IDS))]

    def near(self, ours, wanted, tolerance=1e-4):
        self.assertLessEqual(max(abs(a - b) for a, b in zip(ours, wanted, strict=True)), tolerance)

    def test_info_convert_and_diff(self):
        model = llama()
        (self.folder / "old").mkdir()
        model.config.save_pretrained(self.folder / "old")
        torch.save(model.state_dict(), self.folder / "old" / "pytorch_model.bin")
        info = self.mobula_json("model", "info", "old", "--tensors")
        self.assertEqual((info["format"], info["family"], info["layers"], info["kv_heads"]), ("pytorch", "llama", 2, 2))
        self.assertEqual(info["parameters"], sum(p.numel() for p in model.parameters()))
        self.assertIn({"name": "model.norm.weight", "type": "F32", "shape": [32]}, info["tensor_list"])
        self.assertIn("format       pytorch, 1 file\nfamily       llama\n", self.mobula("model", "info", "old"))
        self.near(self.scores("old"), self.wanted(model))
        self.mobula("model", "convert", "old", "new", "--shard-size", "20kB")
        self.assertGreater(len(list((self.folder / "new").glob("model-*.safetensors"))), 2)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(self.folder / "new")
        self.near(self.scores("new"), self.wanted(theirs))
        same = self.mobula_json("model", "diff", "old", "new")
        self.assertTrue(same["equal"], same)
        self.mobula("model", "convert", "new", "half", "--dtype", "bf16")
        differs = self.mobula_json("model", "diff", "new", "half")
        self.assertFalse(differs["equal"])
        self.assertLess(differs["changed"]["lm_head.weight"]["relative"], 0.01)
        self.assertEqual(transformers.AutoModelForCausalLM.from_pretrained(self.folder / "half", dtype="auto").dtype, torch.bfloat16)
        self.fails("model", "convert", "old", "new", code=1, error="in the way")
        self.fails("model", "convert", "old", "x", "--dtype", "int3", code=2, error="int3")
        self.fails("model", "info", "nothing", code=1, error="nothing")
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["half", "new", "old"])

    def test_adapters(self):
        import peft
        llama().save_pretrained(self.folder / "base")
        tuned = peft.get_peft_model(llama(), peft.LoraConfig(r=3, lora_alpha=9, use_rslora=True, target_modules=["q_proj", "up_proj"])).eval()
        with torch.no_grad():
            for name, p in tuned.named_parameters():
                if "lora_B" in name:
                    p.copy_(torch.randn(p.shape) * 0.3)
        tuned.save_pretrained(self.folder / "adapter")
        wanted = self.wanted(tuned)
        self.near(self.scores("base", "--adapter", "adapter"), wanted)
        self.mobula("model", "merge", "base", "--adapter", "adapter", "--out", "merged")
        self.near(self.scores("merged"), wanted)
        self.mobula("model", "merge", "merged", "--adapter", "adapter", "--undo", "--out", "back")
        self.assertTrue(self.mobula_json("model", "diff", "base", "back", "--tolerance", "1e-5")["equal"])
        self.mobula("model", "merge", "base", "merged", "--weights", "0.25,0.75", "--out", "mean")
        self.assertEqual(self.mobula_json("model", "diff", "base", "mean")["changed"].keys(),
                         self.mobula_json("model", "diff", "base", "merged")["changed"].keys())
        answer = self.mobula_json("generate", "--model", "base", "--adapter", "adapter", "--ids", "5,6", "--temperature", "0", "--max-tokens", "6")
        merged = self.mobula_json("generate", "--model", "merged", "--ids", "5,6", "--temperature", "0", "--max-tokens", "6")
        self.assertEqual(answer["tokens"], merged["tokens"])
        self.check_several_adapters(answer["tokens"])
        self.fails("score", "--model", "base", "--adapter", "base", "--ids", "1,2", code=1, error="adapter_config.json")
        self.fails("model", "merge", "base", "--weights", "1", "--out", "x", code=2, error="--weights")

    def check_several_adapters(self, tuned):
        import peft
        other = peft.get_peft_model(llama(), peft.LoraConfig(r=2, lora_alpha=4, use_dora=True, target_modules=["v_proj", "down_proj"])).eval()
        with torch.no_grad():
            for name, p in other.named_parameters():
                if "lora_B" in name:
                    p.copy_(torch.randn(p.shape) * 0.3)
        other.save_pretrained(self.folder / "other")
        alone = {"": self.mobula_json("generate", "--model", "base", "--ids", "5,6", "--temperature", "0", "--max-tokens", "6")["tokens"], "tuned": tuned,
                 "other": self.mobula_json("generate", "--model", "base", "--adapter", "other", "--ids", "5,6", "--temperature", "0", "--max-tokens", "6")["tokens"]}
        self.assertEqual(len({str(tokens) for tokens in alone.values()}), 3, alone)
        order = ["tuned", "", "other", "tuned"]
        (self.folder / "prompts.jsonl").write_text("".join(json.dumps({"ids": [5, 6], **({"adapter": name} if name else {})}) + "\n" for name in order))
        lines = self.mobula("generate", "--model", "base", "--adapter", "tuned=adapter", "--adapter", "other=other", "--input", "prompts.jsonl",
                            "--temperature", "0", "--max-tokens", "6").splitlines()
        self.assertEqual([json.loads(line)["tokens"] for line in lines], [alone[name] for name in order])
        self.fails("generate", "--model", "base", "--adapter", "tuned=adapter", "--adapter", "tuned=other", "--ids", "1", code=2, error="tuned: the name is taken")
        self.fails("generate", "--model", "base", "--adapter", "adapter", "--adapter", "other", "--ids", "1", code=2, error="several adapters")

    def test_gguf_files_with_their_tokenizer(self):
        import gguf
        import tokenizers
        from reference_formats import gguf_name, interleave, NAMES
        text = (DATA / "tinyshakespeare.txt").read_text() if (DATA / "tinyshakespeare.txt").exists() else pathlib.Path(__file__).read_text() * 3
        kind = tokenizers.Tokenizer(tokenizers.models.BPE())
        kind.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        kind.decoder = tokenizers.decoders.ByteLevel()
        kind.train_from_iterator(text.splitlines(True)[:3000], tokenizers.trainers.BpeTrainer(
            vocab_size=299, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|end|>"]))
        spec = json.loads(kind.to_str())["model"]
        tokens = sorted(spec["vocab"], key=spec["vocab"].get)
        model = llama()
        model.save_pretrained(self.folder / "model")
        writer = gguf.GGUFWriter(str(self.folder / "m.gguf"), "llama")
        writer.add_context_length(64)
        writer.add_embedding_length(32)
        writer.add_block_count(2)
        writer.add_feed_forward_length(48)
        writer.add_head_count(4)
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([3 if t == "<|end|>" else 1 for t in tokens])
        writer.add_token_merges([" ".join(m) for m in spec["merges"]])
        writer.add_eos_token_id(tokens.index("<|end|>"))
        writer.add_chat_template("{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}")
        for name, tensor in model.state_dict().items():
            numbers = tensor.numpy()
            if ".q_proj." in name or ".k_proj." in name:
                numbers = interleave(numbers, 4 if ".q_proj." in name else 2)
            writer.add_tensor(gguf_name(name, NAMES), numbers.copy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        self.near(self.scores("m.gguf"), self.wanted(model))
        self.assertEqual(self.mobula_json("model", "info", "m.gguf")["format"], "gguf")
        prompt = "To be, or not to be: naïve 123 <|end|>"
        answer = self.mobula_json("generate", "--model", "m.gguf", "--prompt", prompt, "--max-tokens", "3", "--temperature", "0", "--ignore-eos")
        self.assertEqual(answer["prompt_tokens"], len(kind.encode(prompt).ids))
        server = Server("--model", self.folder / "m.gguf", "--port", 0)
        try:
            chat = server.client().chat.completions.create(model="m.gguf", messages=[{"role": "user", "content": "To be"}], max_tokens=1)
        finally:
            server.stop()
        self.assertEqual(chat.usage.prompt_tokens, len(kind.encode("<user>To be<|end|>").ids))
        self.mobula("model", "convert", "m.gguf", "out")
        theirs = transformers.AutoTokenizer.from_pretrained(self.folder / "out")
        self.assertEqual(theirs.encode(prompt, add_special_tokens=False), kind.encode(prompt).ids)
        self.assertEqual(self.mobula_json("model", "diff", "model", "out")["changed"], {})
        (self.folder / "cut.gguf").write_bytes((self.folder / "m.gguf").read_bytes()[:-100])
        self.fails("generate", "--model", "cut.gguf", "--ids", "1", code=1, error="cut.gguf")


if __name__ == "__main__":
    unittest.main()
