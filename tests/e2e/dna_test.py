"""Training on DNA whose law is known: the loss comes near the entropy that the law leaves, and what is generated obeys it."""
import itertools
import json
import math
import random
import unittest

import mobula_program

LETTERS, CERTAIN = "ACGT", 0.8  # the letter that the three before it call for comes so often, else any of the four


class Dna(mobula_program.ProgramTest):
    def setUp(self):
        super().setUp()
        seed = random.randrange(1000)
        print(f"seed {seed}")
        draw = random.Random(seed)
        self.law = {"".join(kmer): draw.choice(LETTERS) for kmer in itertools.product(LETTERS, repeat=3)}
        lines = []
        for _ in range(3000):
            line = "".join(draw.choice(LETTERS) for _ in range(3))
            while len(line) < 90:
                line += self.law[line[-3:]] if draw.random() < CERTAIN else draw.choice(LETTERS)
            lines.append(line)
        (self.folder / "dna.txt").write_text("\n".join(lines) + "\n")
        right, wrong = CERTAIN + (1 - CERTAIN) / 4, (1 - CERTAIN) / 4
        letter = -right * math.log(right) - 3 * wrong * math.log(wrong)
        # A line is 30 words and a line end: the first word is free, the others leave three letters' entropy.
        self.entropy = (math.log(64) + 29 * 3 * letter) / 31

    def test_three_letters_at_a_time(self):
        made = self.mobula_json("tokenizer", "kmers", "--alphabet", LETTERS, "--k", 3, "--out", "dna-tokenizer")
        self.assertEqual(made["vocab_size"], 2 + 4 + 64)
        from tokenizers import Tokenizer
        theirs = Tokenizer.from_file(str(self.folder / "dna-tokenizer" / "tokenizer.json"))
        (self.folder / "odd.txt").write_text("ACGTACGTNNACG\n")
        self.assertEqual(self.mobula_json("tokenize", "--tokenizer", "dna-tokenizer", "--input", "odd.txt"), theirs.encode("ACGTACGTNNACG").ids)
        result = self.mobula_json("train", "--config", mobula_program.SOURCE / "recipes" / "dna-3mers.yaml", "--set", "data.path=dna.txt", "--set",
                                  "tokenizer.path=dna-tokenizer", "--out", "run")
        print(f"val_loss {result['best_val_loss']:.3f}, entropy {self.entropy:.3f}, nothing learnt {math.log(64):.3f}")
        self.assertLess(result["best_val_loss"], self.entropy + 0.25)
        self.assertGreater(result["best_val_loss"], self.entropy - 0.1)
        obeyed = total = 0
        (self.folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in ("ACGTTA", "GGGCCA", "TATATA", "CACGTG")))
        self.mobula("generate", "--model", "run/best", "--input", "prompts.jsonl", "--output", "generated.jsonl", "--max-tokens", 28, "--seed", 1)
        for row in map(json.loads, (self.folder / "generated.jsonl").read_text().splitlines()):
            for line in (row["prompt"] + row["text"]).split("\n"):
                for at in range(3, len(line)):
                    obeyed += line[at] == self.law.get(line[at - 3:at])
                    total += 1
        print(f"{obeyed} of {total} letters obey the law")
        self.assertGreater(obeyed / total, 0.7)


if __name__ == "__main__":
    unittest.main()
