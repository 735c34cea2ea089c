"""`mobula data` end to end: sample, shuffle, split, runs with bad rows, what limited a run."""
import json
import unittest

from mobula_program import DATA, ProgramTest


class DataTest(ProgramTest):
    def write_rows(self, name, rows):
        (self.folder / name).write_text("id,k,text\n" + "".join(f"{i},{i % 5},row {i}\n" for i in range(rows)))

    def lines(self, name):
        return (self.folder / name).read_text().splitlines()[1:]

    def test_sample_shuffle_and_split_keep_rows_whole(self):
        self.write_rows("in.csv", 1000)
        self.mobula("data", "shuffle", "in.csv", "shuffled.csv", "--seed", 3)
        self.assertEqual(sorted(self.lines("shuffled.csv")), sorted(self.lines("in.csv")))
        self.assertNotEqual(self.lines("shuffled.csv"), self.lines("in.csv"))
        result = self.mobula_json("data", "sample", "in.csv", "sampled.csv", "--fraction", 0.2)
        self.assertEqual(result["rows"], len(self.lines("sampled.csv")))
        self.assertTrue(set(self.lines("sampled.csv")) < set(self.lines("in.csv")))
        self.mobula("data", "split", "in.csv", "--train", "train.csv", "--test", "test.csv", "--fraction", 0.25, "--stratify", "k")
        self.assertEqual(len(self.lines("test.csv")), 250)
        self.assertEqual(sorted(self.lines("train.csv") + self.lines("test.csv")), sorted(self.lines("in.csv")))
        self.assertEqual({k: sum(line.split(",")[1] == k for line in self.lines("test.csv")) for k in "01234"},
                         dict.fromkeys("01234", 50))

    def test_compressed_text_is_what_others_read_and_write(self):
        import bz2, gzip, lzma
        import pyarrow
        opened = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open,
                  "zst": lambda name, mode: pyarrow.input_stream(name) if mode == "rb" else pyarrow.output_stream(name)}
        self.write_rows("in.csv", 5000)
        content = (self.folder / "in.csv").read_bytes()
        for ending, open_file in opened.items():
            with self.subTest(ending):
                self.mobula("data", "convert", "in.csv", f"out.csv.{ending}")
                with open_file(str(self.folder / f"out.csv.{ending}"), "rb") as file:
                    self.assertEqual(file.read(), content)
                with open_file(str(self.folder / f"theirs.csv.{ending}"), "wb") as file:
                    file.write(content)
                self.assertEqual(self.mobula_json("data", "convert", f"theirs.csv.{ending}", "back.csv")["rows"], 5000)
                self.assertEqual((self.folder / "back.csv").read_bytes(), content)
        whole = (self.folder / "theirs.csv.gz").read_bytes()
        (self.folder / "cut.csv.gz").write_bytes(whole[:len(whole) // 2])
        self.fails("data", "convert", "cut.csv.gz", "cut.parquet", error="cut.csv.gz: can't be decompressed as gzip",
                   hint="damaged or cut short")
        self.assertFalse((self.folder / "cut.parquet").exists())
        self.fails("data", "convert", "in.csv", "out.csv", "--compression", "gzip", error="does not go with this name",
                   hint="name it out.csv.gz")
        self.mobula("data", "shuffle", "in.csv", "mixed.csv.zst", "--window", 100)
        self.mobula("data", "convert", "mixed.csv.zst", "mixed.csv")
        self.assertNotEqual(self.lines("mixed.csv")[:100], self.lines("in.csv")[:100])
        self.assertEqual(sorted(self.lines("mixed.csv")[:100]), sorted(self.lines("in.csv")[:100]))

    def test_tokenize_and_format_chat_as_the_model_does(self):
        from tokenizers import Tokenizer, models, pre_tokenizers
        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1, "world": 2, "user": 3}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        (self.folder / "model").mkdir()
        tokenizer.save(str(self.folder / "model" / "tokenizer.json"))
        (self.folder / "model" / "chat_template.jinja").write_text(
            "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}world{% endif %}")
        texts = ["hello world", "no such words", "hello hello hello"]
        (self.folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        self.mobula("data", "tokenize", "in.jsonl", "out.jsonl", "--tokenizer", "model", "--max-length", 2)
        self.assertEqual([json.loads(line)["tokens"] for line in (self.folder / "out.jsonl").read_text().splitlines()],
                         [tokenizer.encode(text).ids[:2] for text in texts])
        chats = [[{"role": "user", "content": "hello"}], [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]]
        (self.folder / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
        (self.folder / "p.yaml").write_text(
            "source: {jsonl: chats.jsonl}\nsteps:\n  - format_chat: {model: model/, add_generation_prompt: true}\n"
            "  - tokenize: {tokenizer: model/tokenizer.json, into: ids}\n  - drop: messages\nsink: {jsonl: ids.jsonl}\n")
        self.mobula("data", "run", "p.yaml")
        self.assertEqual([json.loads(line) for line in (self.folder / "ids.jsonl").read_text().splitlines()],
                         [{"text": "user hello world", "ids": [3, 1, 2]}, {"text": "user x user y world", "ids": [3, 0, 3, 0, 2]}])
        self.fails("data", "tokenize", "in.jsonl", "out2.jsonl", "--tokenizer", "nothing/", error="nothing/")

    def test_the_classes_of_a_real_data_set_are_split_by_their_share(self):
        self.mobula("data", "split", DATA / "madewithml" / "dataset.csv", "--train", "train.jsonl", "--test", "test.jsonl",
                    "--fraction", 0.2, "--stratify", "tag")
        train = [json.loads(line)["tag"] for line in (self.folder / "train.jsonl").read_text().splitlines()]
        test = [json.loads(line)["tag"] for line in (self.folder / "test.jsonl").read_text().splitlines()]
        self.assertEqual(len(train) + len(test), 764)
        for tag in set(train):
            self.assertLess(abs(test.count(tag) - 0.2 * (train + test).count(tag)), 1)

    def test_bad_rows_are_skipped_up_to_a_limit_and_written_down(self):
        (self.folder / "in.jsonl").write_text('{"id": 1}\n{"id": "x"}\nnot json\n{"id": 4}\n')
        pipeline = "source: {jsonl: in.jsonl, types: {id: int64}}\nsink: {csv: out.csv}\non_error: {skip: %d, dead_letter: dead.jsonl}\n"
        (self.folder / "p.yaml").write_text(pipeline % 2)
        result = self.mobula_json("data", "run", "p.yaml")
        self.assertEqual((result["rows"], result["skipped"]), (2, 2))
        dead = [json.loads(line) for line in (self.folder / "dead.jsonl").read_text().splitlines()]
        self.assertEqual([line["where"] for line in dead], ["in.jsonl: row 2", "in.jsonl: row 3"])
        (self.folder / "p.yaml").write_text(pipeline % 1)
        self.fails("data", "run", "p.yaml", code=1, error="in.jsonl: row 3", hint="on_error.skip")

    def test_dedup_keeps_the_first_of_each_text_and_reports_the_rest(self):
        text = " ".join(f"word{i}" for i in range(60))
        rows = [text, "another", text, text + " more", "another"]
        (self.folder / "in.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(rows)))
        self.mobula("data", "dedup", "in.jsonl", "out.jsonl", "--near", 0.8, "--report", "report.json")
        kept = [json.loads(line)["id"] for line in (self.folder / "out.jsonl").read_text().splitlines()]
        self.assertEqual(kept, [0, 1])
        report = json.loads((self.folder / "report.json").read_text())
        self.assertEqual(report["dropped"], {"exact duplicate": 2, "near duplicate": 1})
        self.assertIn("in.jsonl: row 3", [example["where"] for example in report["examples"]])

    def test_diff_counts_rows_and_columns_that_differ(self):
        (self.folder / "a.csv").write_text("id,x,y\n1,a,1\n2,b,\n3,c,3\n4,d,4\n")
        (self.folder / "b.csv").write_text("id,x,z\n1,a,1\n2,B,1\n4,,1\n5,e,1\n")
        result = self.mobula_json("data", "diff", "a.csv", "b.csv", "--key", "id")
        self.assertEqual(result, {"rows": [4, 4], "added": 1, "removed": 1, "changed": 2, "same": 1,
                                  "columns": {"added": ["z"], "removed": ["y"], "retyped": []}})
        self.assertIn("1 added, 1 removed, 2 changed, 1 the same", self.mobula("data", "diff", "a.csv", "b.csv", "--key", "id"))
        self.fails("data", "diff", "a.csv", "b.csv", "--key", "idd", error="idd")

    def test_slices_have_figures_of_their_own(self):
        (self.folder / "in.csv").write_text("text,correct,loss\na,true,1\nbb,false,2\nccc,true,\n")
        slices = self.mobula_json("data", "slices", "in.csv", "--slice", "short=length(text) < 3", "--slice",
                                  "none=text == 'x'", "--figures", "correct,loss")["slices"]
        self.assertEqual([(s["slice"], s["rows"]) for s in slices], [("all", 3), ("short", 2), ("none", 0)])
        self.assertEqual(slices[1]["columns"], {"correct": {"mean": 0.5, "min": 0, "max": 1, "nulls": 0},
                                                "loss": {"mean": 1.5, "min": 1, "max": 2, "nulls": 0}})
        self.assertEqual(slices[0]["columns"]["loss"]["nulls"], 1)
        self.fails("data", "slices", "in.csv", "--figures", "text", error="text")

    def test_leaves_out_files_and_tells_which_went_in(self):
        for name in ("a", "b", "bad-c"):
            (self.folder / f"{name}.csv").write_text("id\n1\n2\n3\n")
        (self.folder / "p.yaml").write_text(
            "source: {csv: '*.csv', exclude: 'bad-*', piece_size: 4B}\nsteps:\n  - filter: id > 1\nsink: {csv: out/}\n"
            "ordered: false\nmanifest: m.json\n")
        self.mobula("data", "run", "p.yaml")
        manifest = json.loads((self.folder / "m.json").read_text())
        self.assertEqual(manifest["rows"], 4)
        self.assertEqual(manifest["sources"][0]["files"],
                         [{"file": f"{name}.csv", "read": 3, "rows": 2, "tokens": 0} for name in ("a", "b")])
        out = self.mobula("data", "head", "*.csv", "--exclude", "bad-*,b.csv", "--json")
        self.assertEqual(len(out.splitlines()), 3)
        self.fails("data", "head", "*.csv", "--exclude", "*.csv", error="left out by *.csv")

    def test_a_run_tells_what_limited_it(self):
        (self.folder / "p.yaml").write_text("source: {range: 3000000}\nsteps:\n  - with: {x: \"pow(id, 3) % 7\"}\n  - sort: x\n")
        result = self.mobula_json("data", "run", "p.yaml")
        self.assertEqual(result["rows"], 3000000)
        self.assertTrue(result["limited_by"])
        for stage in result["stages"]:
            self.assertEqual(len(stage["blocked"]), 2)
            self.assertTrue(all(op["busy_s"] >= 0 for op in stage["operators"]))


if __name__ == "__main__":
    unittest.main()
