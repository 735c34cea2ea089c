"""`mobula logits` and `mobula score` on checkpoints of every kind that transformers writes."""
import random
import struct
import unittest
import zlib

import torch
import transformers

from mobula_program import ProgramTest

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
SEED = random.randrange(100000)
print(f"seed {SEED}")


def write_png(path, pixels_3HW):
    """Writes 8-bit red, green, blue without filters."""
    height, width = pixels_3HW.shape[1:]
    rows = b"".join(b"\0" + bytes(pixels_3HW[:, y].T.flatten().tolist()) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Logits(ProgramTest):
    def setUp(self):
        super().setUp()
        torch.manual_seed(SEED)

    def save(self, model):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape) * 0.1)
        model.eval().save_pretrained(self.folder / "model")
        return model

    def agree(self, wanted, *arguments):
        ours = self.mobula_json("logits", "--model", "model", *arguments)
        self.assertEqual(ours["shape"], list(wanted.shape))
        difference = (torch.tensor(ours["logits"]).reshape(ours["shape"]) - wanted).abs().max().item()
        self.assertLessEqual(difference, 1e-4)

    def test_decoders(self):
        common = dict(vocab_size=31, hidden_size=12, intermediate_size=19, num_hidden_layers=2, num_attention_heads=2,
                      num_key_value_heads=1, max_position_embeddings=32)
        ids = [3, 1, 4, 1, 5, 9, 2, 6]
        for config in (transformers.LlamaConfig(**common), transformers.MixtralConfig(**common, num_local_experts=3),
                       transformers.BloomConfig(vocab_size=31, hidden_size=12, n_layer=2, n_head=3)):
            model = self.save(transformers.AutoModelForCausalLM.from_config(config, experts_implementation="eager"))
            with torch.no_grad():
                wanted = model(torch.tensor([ids])).logits
            self.agree(wanted, "--ids", ",".join(map(str, ids)))
            logprobs = wanted[0].log_softmax(-1)
            scored = self.mobula_json("score", "--model", "model", "--ids", ",".join(map(str, ids)))["logprobs"]
            self.assertIsNone(scored[0])
            for i in range(1, len(ids)):
                self.assertLessEqual(abs(scored[i] - logprobs[i - 1, ids[i]].item()), 1e-4)

    def test_encoders(self):
        model = self.save(transformers.RobertaForTokenClassification(transformers.RobertaConfig(
            vocab_size=31, hidden_size=12, intermediate_size=19, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=20, num_labels=4)))
        with torch.no_grad():
            self.agree(model(torch.tensor([[0, 7, 8, 2]])).logits, "--ids", "0,7,8,2")

    def test_encoder_decoders(self):
        model = self.save(transformers.T5ForConditionalGeneration(transformers.T5Config(
            vocab_size=31, d_model=12, d_kv=5, d_ff=17, num_layers=2, num_heads=3)))
        with torch.no_grad():
            wanted = model(input_ids=torch.tensor([[5, 6, 7, 1]]), decoder_input_ids=torch.tensor([[0, 9, 3]])).logits
        self.agree(wanted, "--ids", "5,6,7,1", "--decoder-ids", "0,9,3")
        self.fails("logits", "--model", "model", "--ids", "5", code=2, error="--decoder-ids is missing")
        self.fails("logits", "--model", "model", "--ids", "5", "--decoder-ids", "77", code=2, error="77")

    def test_images(self):
        model = self.save(transformers.ViTForImageClassification(transformers.ViTConfig(
            image_size=24, patch_size=8, hidden_size=12, intermediate_size=19, num_hidden_layers=2, num_attention_heads=3, num_labels=3)))
        pixels = torch.randint(0, 256, (3, 41, 37), dtype=torch.uint8)
        write_png(self.folder / "image.png", pixels)
        (self.folder / "image.ppm").write_bytes(b"P6\n# noise\n37 41\n255\n" + bytes(pixels.permute(1, 2, 0).flatten().tolist()))
        resized = torch.nn.functional.interpolate(pixels[None], size=(24, 24), mode="bilinear", antialias=True)
        with torch.no_grad():
            wanted = model(pixel_values=(resized.float() / 255 - 0.5) / 0.5).logits
        self.agree(wanted, "--image", "image.png")
        self.agree(wanted, "--image", "image.ppm")
        self.fails("logits", "--model", "model", code=2, error="--image is missing")
        (self.folder / "cut.png").write_bytes((self.folder / "image.png").read_bytes()[:200])
        self.fails("logits", "--model", "model", "--image", "cut.png", error="cut.png")
        (self.folder / "text.png").write_text("no image at all")
        self.fails("logits", "--model", "model", "--image", "text.png", error="text.png")

    def test_unknown_families_are_refused_by_name(self):
        (self.folder / "model").mkdir()
        (self.folder / "model" / "config.json").write_text('{"model_type": "mamba"}')
        self.fails("logits", "--model", "model", "--ids", "1", error="'mamba'")


if __name__ == "__main__":
    unittest.main()
