"""What training leaves in DIR/best is a Hugging Face checkpoint: transformers gives the same logits and the same text."""
import json
import unittest

from mobula_program import DATA, ProgramTest

TOLERANCE = 1e-4  # fp32, absolute


class Checkpoint(ProgramTest):
    def test_transformers_gives_the_same_logits_and_greedy_text(self):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        for kind in ("char", "bpe"):
            with self.subTest(tokenizer=kind):
                out = self.folder / kind
                self.mobula("train", "--out", out, "--data", DATA / "tinyshakespeare.txt", "--quiet", "--set",
                            f"tokenizer.kind={kind}", "--set", "tokenizer.vocab_size=512", "--set", "train.steps=60", "--set",
                            "train.warmup=10", "--set", "train.eval_every=30", "--set", "scaling.threads=1")
                best = str(out / "best")
                tokenizer = AutoTokenizer.from_pretrained(best)
                model = AutoModelForCausalLM.from_pretrained(best, dtype=torch.float32).eval()
                prompt = "First Citizen:\nWe are"
                ids = tokenizer(prompt, return_tensors="pt").input_ids
                self.assertEqual(json.loads(self.mobula("tokenize", "--tokenizer", best, "--input", self.write(prompt),
                                                        "--json").splitlines()[1]), tokenizer("We are").input_ids)
                with torch.no_grad():
                    expected = model(ids).logits[0]
                answer = self.mobula_json("logits", "--model", best, "--ids", ",".join(map(str, ids[0].tolist())))
                ours = torch.tensor(answer["logits"]).reshape(expected.shape)
                self.assertLess((ours - expected).abs().max().item(), TOLERANCE)
                text = model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0)[0, ids.shape[1]:]
                generated = self.mobula_json("generate", "--model", best, "--prompt", prompt, "--max-tokens", "24",
                                             "--temperature", "0")
                self.assertEqual(generated["text"], tokenizer.decode(text))
                chat = tokenizer.apply_chat_template([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
                                                     tokenize=False)
                self.assertEqual(chat, "ab")

    def write(self, text):
        path = self.folder / "input.txt"
        path.write_text(text + "\n")
        return path


if __name__ == "__main__":
    unittest.main()
