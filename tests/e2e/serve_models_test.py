"""mobula serve with models other than a plain decoder of a folder: T5, GGUF files, tokenizers that cut and pad.

Small random models of transformers, through OpenAI's client.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import openai

from mobula_program import ProgramTest
from serve_test import WRITE_MODEL, Server

WRITE_T5 = """
import json, sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
torch.manual_seed(7)
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
tokenizer = Tokenizer(models.BPE({"<pad>": 0, "</s>": 1, **{c: i + 2 for i, c in enumerate(alphabet)}}, []))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(["<pad>", "</s>"])
tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
tokenizer.enable_truncation(8)
tokenizer.enable_padding(length=12, pad_id=0, pad_token="<pad>")
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")
fast.save_pretrained(sys.argv[1])
model = T5ForConditionalGeneration(T5Config(
    vocab_size=258, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_decoder_layers=2, num_heads=3, feed_forward_proj="gated-gelu",
    tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, initializer_factor=3.0,
    relative_attention_num_buckets=8, relative_attention_max_distance=20)).eval()
with torch.no_grad():
    model.shared.weight[2:] = torch.randn(256, 32) * 2
model.save_pretrained(sys.argv[1])
answers = {}
for prompt in sys.argv[2:]:
    ids = fast(prompt, return_tensors="pt").input_ids
    made = model.generate(ids, max_new_tokens=24, do_sample=False)[0][1:]
    answers[prompt] = {"text": fast.decode(made, skip_special_tokens=True), "prompt_tokens": ids.shape[1], "ended": bool(made[-1] == 1)}
print(json.dumps(answers))
"""
WRITE_ADAPTERS = """
import sys, peft, torch, transformers
torch.manual_seed(3)
for folder in sys.argv[2:]:
    base = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
    tuned = peft.get_peft_model(base, peft.LoraConfig(r=3, lora_alpha=9, target_modules=["c_attn"], fan_in_fan_out=True))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape)
    tuned.save_pretrained(folder)
"""
PROMPTS = ["translate English to German: the house is wonderful", "summarize: ", "x", "Grüße"]


class ServeModelsTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls._models = tempfile.TemporaryDirectory(prefix="mobula-serve-")
        cls.model = pathlib.Path(cls._models.name) / "t5"
        done = subprocess.run([sys.executable, "-c", WRITE_T5, str(cls.model), *PROMPTS], check=True, capture_output=True, text=True)
        cls.wanted = json.loads(done.stdout.splitlines()[-1])
        cls.server = Server("--model", cls.model, "--port", 0)
        cls.client = cls.server.client()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls._models.cleanup()

    def complete(self, prompt, **more):
        return self.client.completions.create(model="t5", prompt=prompt, max_tokens=24, temperature=0, **more)

    def test_t5_answers_as_transformers_generates(self):
        # The prompts are longer than the 8 tokens that tokenizer.json cuts to, or shorter than the 12 that it fills up to.
        for prompt, wanted in self.wanted.items():
            answer = self.complete(prompt)
            self.assertEqual(answer.choices[0].text, wanted["text"], prompt)
            self.assertEqual(answer.usage.prompt_tokens, wanted["prompt_tokens"])
            self.assertEqual(answer.choices[0].finish_reason, "stop" if wanted["ended"] else "length")
            generated = self.mobula_json("generate", "--model", self.model, "--prompt", prompt, "--max-tokens", 24, "--temperature", 0)
            self.assertEqual(generated["text"], wanted["text"])
            self.assertEqual(generated["prompt_tokens"], wanted["prompt_tokens"])

    def test_t5_streams_stops_and_takes_several_prompts(self):
        wanted = self.wanted[PROMPTS[0]]["text"]
        chunks = list(self.complete(PROMPTS[0], stream=True))
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks), wanted)
        stop = wanted[3:5]
        answer = self.complete(PROMPTS[0], stop=[stop])
        self.assertEqual(answer.choices[0].text, wanted[:wanted.index(stop)])
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        together = self.complete(PROMPTS)
        self.assertEqual([choice.text for choice in together.choices], [self.wanted[prompt]["text"] for prompt in PROMPTS])

    def test_t5_samples_by_seed_and_gives_logprobs_of_its_answer(self):
        ask = dict(model="t5", prompt="x", max_tokens=8, temperature=1.0, n=3, logprobs=2)
        first, again = (self.client.completions.create(**ask, seed=4) for _ in range(2))
        self.assertEqual([choice.text for choice in first.choices], [choice.text for choice in again.choices])
        self.assertGreater(len({choice.text for choice in first.choices}), 1)
        for choice in first.choices:
            for score, likeliest in zip(choice.logprobs.token_logprobs, choice.logprobs.top_logprobs):
                self.assertLessEqual(score, 0)
                self.assertGreaterEqual(len(likeliest), 2)
        with self.assertRaisesRegex(openai.BadRequestError, "encoder"):
            self.client.completions.create(model="t5", prompt="x", max_tokens=2, echo=True, logprobs=1)

    def test_adapters_are_models_of_their_own_on_one_base(self):
        for script, arguments in ((WRITE_MODEL, ["base"]), (WRITE_ADAPTERS, ["base", "poet", "clerk"])):
            subprocess.run([sys.executable, "-c", script, *(str(self.folder / name) for name in arguments)], check=True, capture_output=True)
        server = Server("--model", self.folder / "base", "--port", 0, "--adapter", self.folder / "poet", "--adapter", f"writer={self.folder / 'clerk'}")
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        client = server.client()
        self.assertEqual([model.id for model in client.models.list()], ["base", "poet", "writer"])
        ask = dict(prompt="To be", max_tokens=20, temperature=0)
        answers = {}
        for model, adapter in (("base", None), ("poet", "poet"), ("writer", "clerk")):
            answers[model] = client.completions.create(model=model, **ask).choices[0].text
            options = ["--adapter", self.folder / adapter] if adapter else []
            generated = self.mobula_json("generate", "--model", self.folder / "base", "--prompt", "To be", "--max-tokens", 20, "--temperature", 0, *options)
            self.assertEqual(answers[model], generated["text"])
        self.assertEqual(len(set(answers.values())), 3, answers)
        # Together in the same steps, too, streamed.
        streams = {model: client.completions.create(model=model, stream=True, **ask) for model in answers}
        for model, stream in streams.items():
            self.assertEqual("".join(chunk.choices[0].text for chunk in stream), answers[model])
        with self.assertRaises(openai.NotFoundError):
            client.completions.create(model="clerk", **ask)
        self.fails("serve", "--model", self.folder / "base", "--name", "poet", "--port", 0, "--adapter", self.folder / "poet", code=2, error="both named 'poet'")

    def test_t5_is_asked_by_chat_as_by_prompt(self):
        # Without a template, the contents of the messages are the prompt, with the end that the tokenizer puts.
        for prompt in ("x", "Grüße"):
            answer = self.client.chat.completions.create(model="t5", messages=[{"role": "user", "content": prompt}], max_tokens=24, temperature=0)
            self.assertEqual(answer.choices[0].message.content, self.wanted[prompt]["text"])
            self.assertEqual(answer.usage.prompt_tokens, self.wanted[prompt]["prompt_tokens"])


if __name__ == "__main__":
    unittest.main()
