"""What is refused on the command line of text and models: one clear error that names the file and the tensor or key, and
nothing half-written."""
import json
import os
import shutil
import unittest

import torch
import transformers
from safetensors.torch import load_file, save_file

from mobula_program import ProgramTest

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class BadInput(ProgramTest):
    def setUp(self):
        super().setUp()
        torch.manual_seed(1)
        config = transformers.LlamaConfig(vocab_size=31, hidden_size=12, intermediate_size=19, num_hidden_layers=2, num_attention_heads=2,
                                          num_key_value_heads=1, max_position_embeddings=16, eos_token_id=None)
        transformers.LlamaForCausalLM(config).save_pretrained(self.folder / "model")

    def change_config(self, **keys):
        path = self.folder / "model" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    def change_tensors(self, change):
        path = self.folder / "model" / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})

    def write_tokenizer(self, count, folder="model", **more):
        vocabulary = {f"w{i}": i for i in range(count)}
        tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
                     "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"}, **more}
        (self.folder / folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    def test_tensors(self):
        name = "model.layers.1.mlp.up_proj.weight"
        self.change_tensors(lambda tensors: tensors.update({name: tensors[name].T.contiguous()}))
        for command in ("score", "logits"):
            self.fails(command, "--model", "model", "--ids", "1,2", code=1, error=f"model/model.safetensors: tensor '{name}' has the shape [12, 19], config.json asks for [19, 12]")
        self.change_tensors(lambda tensors: tensors.pop(name))
        self.fails("generate", "--model", "model", "--ids", "1,2", code=1, error=f"model: the checkpoint has no tensor '{name}'", hint="config.json")
        self.change_tensors(lambda tensors: tensors.update({name: torch.zeros(19, 12), "model.layers.2.mlp.up_proj.weight": torch.zeros(19, 12)}))
        self.fails("score", "--model", "model", "--ids", "1,2", code=1, error="'model.layers.2.mlp.up_proj.weight' belongs to no parameter", hint="config.json")
        self.fails("model", "quantize", "model", "out", "--dtype", "int8", code=1, error="model.layers.2.mlp.up_proj.weight")
        self.assertFalse((self.folder / "out").exists())

    def test_types(self):
        self.fails("generate", "--model", "model", "--ids", "1", "--dtype", "fp64", code=2, error="fp64", hint="bf16")
        self.fails("score", "--model", "model", "--ids", "1,2", "--dtype", "f32", code=2, error="f32")
        self.fails("model", "convert", "model", "out", "--dtype", "half", code=2, error="half")
        self.change_tensors(lambda tensors: tensors.update({"model.norm.weight": torch.ones(12, dtype=torch.int64)}))
        self.fails("score", "--model", "model", "--ids", "1,2", code=1, error="model.safetensors: tensor 'model.norm.weight' holds Long")
        path = self.folder / "model" / "model.safetensors"
        path.write_bytes(path.read_bytes().replace(b'"I64"', b'"I99"'))
        self.fails("score", "--model", "model", "--ids", "1,2", code=1, error="I99")
        self.fails("model", "info", "model", code=1, error="I99")
        self.fails("model", "convert", "model", "out", code=1, error="model.safetensors")
        self.assertFalse((self.folder / "out").exists())

    def test_shards(self):
        self.mobula("model", "convert", "model", "parts", "--shard-size", "4kB")
        shards = sorted(self.folder.glob("parts/model-*.safetensors"))
        self.assertGreater(len(shards), 2)
        cut = shards[1].read_bytes()
        shards[1].write_bytes(cut[: len(cut) // 2])
        self.fails("score", "--model", "parts", "--ids", "1,2", code=1, error=shards[1].name)
        shards[1].unlink()
        for arguments in (("score", "--model", "parts", "--ids", "1,2"), ("model", "info", "parts"), ("model", "convert", "parts", "out"),
                          ("model", "quantize", "parts", "out", "--dtype", "int8"), ("model", "merge", "parts", "model", "--out", "out"), ("model", "diff", "parts", "model")):
            self.fails(*arguments, code=1, error=f"parts/{shards[1].name}: the shard is missing", hint="model.safetensors.index.json")
        self.assertFalse((self.folder / "out").exists())

    def test_configurations(self):
        self.change_config(model_type="lama")
        for command in ("generate", "score"):
            self.fails(command, "--model", "model", "--ids", "1,2", code=1, error="model/config.json: model_type 'lama'", hint="llama")
        self.change_config(model_type="llama", num_key_value_heads=3)
        self.fails("score", "--model", "model", "--ids", "1,2", code=2, error="model/config.json: num_attention_heads 2 is not a multiple of num_key_value_heads 3")
        self.change_config(num_key_value_heads=1, hidden_act="snake")
        self.fails("score", "--model", "model", "--ids", "1,2", error="model/config.json: hidden_act: activation 'snake'", hint="silu")
        (self.folder / "model" / "config.json").write_text('{"model_type": "llama", ')
        self.fails("score", "--model", "model", "--ids", "1,2", code=1, error="model/config.json")

    def test_standard_input_and_names_of_the_hub(self):
        lines = self.mobula("generate", "--model", "model", "--input", "-", "--max-tokens", "2", input='{"ids": [1, 2]}\n{"ids": [3]}\n').splitlines()
        self.assertEqual([json.loads(line)["prompt"] for line in lines], [[1, 2], [3]])
        self.assertEqual(len(self.mobula("score", "--model", "model", "--input", "-", "--json", input="[1, 2]\n[3]\n").splitlines()), 2)
        self.fails("generate", "--model", "org/name", "--ids", "1", code=1, error="org/name: no such folder", hint="mobula hub pull org/name")

    def test_ids_and_lengths(self):
        for command in ("score", "logits", "generate"):
            self.fails(command, "--model", "model", "--ids", "1,31", code=2, error="31")
            self.fails(command, "--model", "model", "--ids", ",".join(["1"] * 17), code=2, error="17")
        (self.folder / "ids").write_text("[1, 2]\n[3, 77]\n")
        self.fails("score", "--model", "model", "--input", "ids", code=2, error="77")

    def test_tokenizers_that_belong_to_another_model(self):
        self.write_tokenizer(31)
        self.mobula("generate", "--model", "model", "--prompt", "w1 w2", "--max-tokens", "2")
        self.write_tokenizer(40)
        for command, option in (("generate", "--prompt"), ("score", "--text")):
            self.fails(command, "--model", "model", option, "w1 w2", code=2, error="model/tokenizer.json: the tokenizer has 40 ids, the model's vocabulary 31", hint="different checkpoints")
        # A table padded to a round number is as common as it is harmless: what is drawn beyond the tokenizer has no text.
        self.write_tokenizer(4)
        done = self.mobula_json("generate", "--model", "model", "--prompt", "w1 w2", "--max-tokens", "8", "--temperature", "0.9")
        self.assertEqual(done["completion_tokens"], 8)
        (self.folder / "model" / "tokenizer.json").write_text('{"model": {"type": "WordLevel"}}')
        self.fails("generate", "--model", "model", "--prompt", "w1", error="model/tokenizer.json")

    def test_templates_that_loop_for_ever(self):
        self.write_tokenizer(31)
        (self.folder / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "w1"}]}\n')
        forever = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        (self.folder / "model" / "chat_template.jinja").write_text(forever)
        (self.folder / "run.yaml").write_text("source: {jsonl: chats.jsonl}\nsteps:\n  - format_chat: {model: model}\nsink: {jsonl: out/}\n")
        done = self.fails("data", "run", "run.yaml", code=1)
        self.assertIn("too long", done.stderr)
        self.assertFalse(list((self.folder / "out").glob("*.jsonl")) if (self.folder / "out").exists() else [])

    def test_folders_that_cannot_be_written_stay_absent(self):
        self.fails("model", "convert", "model", "missing/deep/out", "--dtype", "bf17", code=2, error="bf17")
        self.assertFalse((self.folder / "missing").exists())
        (self.folder / "file").write_text("x")
        self.fails("model", "convert", "model", "file/out", error="file")
        self.assertEqual((self.folder / "file").read_text(), "x")
        self.assertEqual(sorted(os.listdir(self.folder)), ["file", "model"])
        shutil.copytree(self.folder / "model", self.folder / "other")
        self.fails("model", "merge", "model", "other", "--weights", "0.5", "--out", "out", code=2, error="1 weights are given for 2 models")
        self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    unittest.main()
