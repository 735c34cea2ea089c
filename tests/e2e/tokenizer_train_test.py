"""Vocabularies trained by the program: Hugging Face's tokenizers and transformers load them and give the same ids."""
import json
import unittest

import mobula_program

TEXTS = ["To be, or not to be: that is the question.", "  two  spaces\tand a tab", "naïve Grüße 世界 👋🏽", "O Romeo, Romeo! wherefore art thou Romeo?",
         "unknown: \u0ca0_\u0ca0 \x07", "it's 12,345.67"]


class TrainedTokenizers(mobula_program.ProgramTest):
    def setUp(self):
        super().setUp()
        text = (mobula_program.DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")
        (self.folder / "corpus.txt").write_text(text[:300_000], encoding="utf-8")
        (self.folder / "texts.txt").write_text("".join(line + "\n" for line in TEXTS), encoding="utf-8")

    def check(self, kind):
        result = self.mobula_json("tokenizer", "train", "--kind", kind, "--vocab-size", 1500, "--input", "corpus.txt", "--out", kind, "--threads", 2)
        self.assertEqual(result["vocab_size"], 1500)
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer
        theirs = Tokenizer.from_file(str(self.folder / kind / "tokenizer.json"))
        auto = AutoTokenizer.from_pretrained(str(self.folder / kind))
        self.assertEqual(theirs.get_vocab_size(), 1500)
        ids = [json.loads(line) for line in self.mobula("tokenize", "--tokenizer", kind, "--input", "texts.txt", "--json").splitlines()]
        self.assertEqual(ids, [theirs.encode(text).ids for text in TEXTS])
        self.assertEqual(ids, [auto(text)["input_ids"] for text in TEXTS])
        (self.folder / "ids.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ids))
        decoded = self.mobula("tokenize", "--tokenizer", kind, "--input", "ids.jsonl", "--decode").splitlines()
        self.assertEqual([json.loads(line) for line in decoded], [theirs.decode(each) for each in ids])
        return theirs, ids

    def test_bpe_is_the_vocabulary_that_tokenizers_trains(self):
        ours, _ = self.check("bpe")
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
        theirs = Tokenizer(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.train([str(self.folder / "corpus.txt")], trainers.BpeTrainer(
            vocab_size=1500, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        self.assertEqual(ours.get_vocab(), theirs.get_vocab())

    def test_unigram_spells_unknown_characters_as_bytes(self):
        theirs, ids = self.check("unigram")
        self.assertIn("<0xE4>", theirs.encode(TEXTS[2]).tokens)
        self.assertEqual(theirs.decode(ids[0]), TEXTS[0])

    def test_wordpiece_writes_a_tokenizer_for_bert(self):
        theirs, ids = self.check("wordpiece")
        self.assertEqual(theirs.encode(TEXTS[0]).tokens[0], "[CLS]")
        self.assertIn("[UNK]", theirs.encode(TEXTS[4]).tokens)
        self.assertEqual(theirs.decode(ids[0]), "to be, or not to be : that is the question.")

    def test_chosen_special_tokens_come_first(self):
        self.mobula("tokenizer", "train", "--vocab-size", 400, "--input", "corpus.txt", "--out", "t", "--special", "<|im_start|>", "<|im_end|>")
        from tokenizers import Tokenizer
        theirs = Tokenizer.from_file(str(self.folder / "t" / "tokenizer.json"))
        self.assertEqual([theirs.token_to_id("<|im_start|>"), theirs.token_to_id("<|im_end|>")], [0, 1])
        self.assertEqual(theirs.encode("a<|im_end|>").ids[-1], 1)
        self.assertEqual(theirs.decode([1], skip_special_tokens=True), "")
        info = self.mobula_json("tokenizer", "info", "t")
        self.assertEqual(info["special_tokens"], {"<|im_start|>": 0, "<|im_end|>": 1})

    def test_the_result_does_not_depend_on_threads_or_files(self):
        text = (self.folder / "corpus.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        (self.folder / "parts").mkdir()
        (self.folder / "parts" / "a.txt").write_text("".join(text[:3000]), encoding="utf-8")
        (self.folder / "parts" / "b.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in text[3000:]), encoding="utf-8")
        for kind in ("bpe", "unigram", "wordpiece"):
            self.mobula("tokenizer", "train", "--kind", kind, "--vocab-size", 900, "--input", "corpus.txt", "--out", kind + "1", "--threads", 1)
            self.mobula("tokenizer", "train", "--kind", kind, "--vocab-size", 900, "--input", "parts", "--out", kind + "2", "--threads", 3)
            self.assertEqual((self.folder / (kind + "1") / "tokenizer.json").read_text(), (self.folder / (kind + "2") / "tokenizer.json").read_text())

    def test_errors_name_the_file_and_line_and_leave_nothing(self):
        (self.folder / "rows.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
        self.fails("tokenizer", "train", "--input", "rows.jsonl", "--out", "t", error="rows.jsonl: line 2: expected an object with a text 'text'", hint="--field")
        (self.folder / "broken.jsonl").write_text('{"text": "a"}\n\n{"text": \n')
        self.fails("tokenizer", "train", "--input", "broken.jsonl", "--out", "t", error="broken.jsonl: line 3")
        (self.folder / "empty.txt").write_text("")
        self.fails("tokenizer", "train", "--input", "empty.txt", "--out", "t", error="no text")
        self.fails("tokenizer", "train", "--input", "absent.txt", "--out", "t", error="absent.txt")
        self.fails("tokenizer", "train", "--kind", "unigram", "--no-byte-fallback", "--vocab-size", 10, "--input", "corpus.txt", "--out", "t", error="10")
        self.assertFalse((self.folder / "t").exists())


if __name__ == "__main__":
    unittest.main()
