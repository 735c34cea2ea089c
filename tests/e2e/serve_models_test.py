"""mobula serve with models other than a plain decoder of a folder: T5, adapters, old folders, tokenizers that cut and pad.

Small random models of transformers, through OpenAI's client.
"""
import json
import unittest

import openai
import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from model_server import Server, ServedModelTest, write_gpt2

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

PROMPTS = ["translate English to German: the house is wonderful", "summarize: ", "x", "Grüße"]


def write_t5(folder):
    """Writes a T5 and returns what transformers answers to the prompts."""
    torch.manual_seed(7)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<pad>": 0, "</s>": 1, **{c: i + 2 for i, c in enumerate(alphabet)}}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=12, pad_id=0, pad_token="<pad>")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=258, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_decoder_layers=2, num_heads=3, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, initializer_factor=3.0,
        relative_attention_num_buckets=8, relative_attention_max_distance=20)).eval()
    with torch.no_grad():
        model.shared.weight[2:] = torch.randn(256, 32) * 2
    model.save_pretrained(folder)
    answers = {}
    for prompt in PROMPTS:
        ids = fast(prompt, return_tensors="pt").input_ids
        made = model.generate(ids, max_new_tokens=24, do_sample=False)[0][1:]
        answers[prompt] = {"text": fast.decode(made, skip_special_tokens=True), "prompt_tokens": ids.shape[1], "ended": bool(made[-1] == 1)}
    return answers


def write_adapters(base, folders):
    import peft
    torch.manual_seed(3)
    for folder in folders:
        tuned = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base),
                                    peft.LoraConfig(r=3, lora_alpha=9, target_modules=["c_attn"], fan_in_fan_out=True))
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.data = torch.randn(parameter.shape)
        tuned.save_pretrained(folder)


def write_llama(folder):
    """Writes a Llama whose folder is one of old: a SentencePiece model instead of tokenizer.json. Returns the model."""
    torch.manual_seed(5)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, initializer_range=0.3, bos_token_id=1, eos_token_id=2)).eval()
    with torch.no_grad():
        model.lm_head.weight[:259] = 0  # special tokens and bytes: bytes that are no UTF-8 spoil those before them
    model.save_pretrained(folder)
    sentencepiece.SentencePieceTrainer.Train(
        input=__file__, model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=400, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
    template = ("{{ bos_token }}{% if tools %}{% for t in tools %}{{ t | tojson(indent=2) }}{% endfor %}{% endif %}"
                "{% for m in messages %}[{{ m.role }}] {% if m.tool_calls %}{% for c in m.tool_calls %}"
                "{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %})"
                "{% endfor %}{% else %}{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>",
         "unk_token": "<unk>", "chat_template": template}))
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False, "temperature": 0.9, "max_new_tokens": 7, "eos_token_id": 2}))
    return model


class ServeModelsTest(ServedModelTest):
    NAME = "t5"

    @classmethod
    def write_model(cls):
        cls.wanted = write_t5(cls.model)

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
        write_gpt2(self.folder / "base")
        write_adapters(self.folder / "base", [self.folder / "poet", self.folder / "clerk"])
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

    def test_an_old_folder_chats_with_tools_as_its_generation_config_says(self):
        model = write_llama(self.folder / "llama")
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder / "llama")
        tools = [{"type": "function", "function": {"name": "add", "description": "Adds <b>é</b>", "parameters": {
            "type": "object", "properties": {"b": {"type": "number"}, "a": {"type": "number"}}, "required": ["a"]}}}]
        messages = [{"role": "user", "content": "the  sum of 2 and 3?"},
                    {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}]},
                    {"role": "tool", "tool_call_id": "c1", "content": "5"}]
        prompt = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_dict=False)
        made = model.generate(torch.tensor([prompt]), max_new_tokens=7, do_sample=False)[0][len(prompt):].tolist()
        messages[1]["tool_calls"][0]["function"]["arguments"] = json.dumps({"a": 2, "b": 3})  # as OpenAI's API has it
        server = Server("--model", self.folder / "llama", "--port", 0)
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        ask = dict(model="llama", messages=messages)
        answer = server.client().chat.completions.create(**ask, tools=tools, logprobs=True)
        self.assertEqual(answer.usage.prompt_tokens, len(prompt))
        self.assertEqual(answer.choices[0].message.content, tokenizer.decode(made, skip_special_tokens=True))
        self.assertEqual(answer.usage.completion_tokens, len(made))
        self.assertLess(server.client().chat.completions.create(**ask).usage.prompt_tokens, len(prompt))
        with self.assertRaisesRegex(openai.BadRequestError, "no place for 'documents'"):
            server.client().chat.completions.create(**ask, extra_body={"documents": [{"text": "x"}]})
        drawn = [server.client().chat.completions.create(**ask, temperature=1.5, max_tokens=12, seed=seed) for seed in range(3)]
        self.assertGreater(len({one.choices[0].message.content for one in drawn}), 1)
        self.assertIn("temperature 0, max_new_tokens 7", server.stop()[2])
        scored = self.mobula_json("score", "--model", self.folder / "llama", "--text", "the  sum</s> of")
        self.assertEqual(scored["ids"], tokenizer.encode("the  sum</s> of"))

    def test_t5_is_asked_by_chat_as_by_prompt(self):
        # Without a template, the contents of the messages are the prompt, with the end that the tokenizer puts.
        for prompt in ("x", "Grüße"):
            answer = self.client.chat.completions.create(model="t5", messages=[{"role": "user", "content": prompt}], max_tokens=24, temperature=0)
            self.assertEqual(answer.choices[0].message.content, self.wanted[prompt]["text"])
            self.assertEqual(answer.usage.prompt_tokens, self.wanted[prompt]["prompt_tokens"])


if __name__ == "__main__":
    unittest.main()
