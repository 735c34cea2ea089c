"""llama.cpp's own converter takes checkpoints that Mobula writes; what it makes of them says the same, read by Mobula again.

The checkpoints are random ones; their tokenizer is a SentencePiece model, which the converter knows by itself (byte-level BPE
it knows by the ids of a certain text, and those of real models alone).
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import unittest

import sentencepiece
import torch
import transformers

from mobula_program import SOURCE, ProgramTest

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
SEED = random.randrange(100000)
print(f"seed {SEED}")
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, pad_token_id=None, bos_token_id=1, eos_token_id=2)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
FAMILIES = {
    "llama": transformers.LlamaConfig(**SIZES, vocab_size=400, rope_parameters=LLAMA3, tie_word_embeddings=True),
    "mistral": transformers.MistralConfig(**SIZES, vocab_size=400, head_dim=24, sliding_window=None),
}


def converter():
    if "llama.cpp" in os.environ.get("MOBULA_TEST_WITHOUT", "").split(","):
        print("skipped: llama.cpp (MOBULA_TEST_WITHOUT)", file=sys.stderr)
        raise unittest.SkipTest("llama.cpp (MOBULA_TEST_WITHOUT)")
    deps = os.environ.get("MOBULA_DEPS")
    folder = pathlib.Path(deps) if deps else pathlib.Path(sys.executable).parents[2]
    script = folder / "llama-cpp-converter" / "convert_hf_to_gguf.py"
    if not script.exists():
        raise AssertionError("llama.cpp's converter is missing: ./dev setup --all (or MOBULA_TEST_WITHOUT=llama.cpp)")
    return script


class LlamaCpp(ProgramTest):
    def write_checkpoint(self, config):
        torch.manual_seed(SEED)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
        model.save_pretrained(self.folder / "source")
        sentencepiece.SentencePieceTrainer.Train(
            input=SOURCE / "tests" / "e2e" / "llama_cpp_test.py", model_prefix=str(self.folder / "source" / "tokenizer"), model_type="bpe",
            vocab_size=400, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
        (self.folder / "source" / "tokenizer_config.json").write_text(json.dumps(
            {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}))

    def test_its_converter_takes_what_mobula_writes(self):
        script = converter()
        for family, config in FAMILIES.items():
            with self.subTest(family):
                self.write_checkpoint(config)
                self.mobula("model", "convert", "source", family, "--shard-size", "100KB")
                self.assertGreater(len(list((self.folder / family).glob("*.safetensors"))), 1)
                done = subprocess.run([sys.executable, str(script), str(self.folder / family), "--outfile", str(self.folder / "m.gguf"), "--outtype", "f32"],
                                      capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                ids = ",".join(str(random.Random(SEED).randrange(400)) for _ in range(100))
                ours, theirs = (self.mobula_json("score", "--model", model, "--ids", ids)["logprobs"][1:] for model in (family, "m.gguf"))
                self.assertLess(max(abs(a - b) for a, b in zip(ours, theirs, strict=True)), 1e-4)
                # Its tokenizer, too.
                options = ["--prompt", "the  converter, né <s>it", "--max-tokens", "8", "--temperature", "0"]
                ours, theirs = (self.mobula_json("generate", "--model", model, *options) for model in (family, "m.gguf"))
                for key in ("prompt_tokens", "tokens", "text"):
                    self.assertEqual(ours[key], theirs[key])


if __name__ == "__main__":
    unittest.main()
