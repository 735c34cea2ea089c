"""A running `mobula serve`, and a small model for it: GPT-2 with random weights, written by transformers; every byte is a token."""
import http.client
import os
import pathlib
import signal
import subprocess
import tempfile

import openai

from mobula_program import BIN, ProgramTest

CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'robot' or m.content == 'no' %}{{ raise_exception('never') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")


def write_gpt2(folder):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(7)
    config = GPT2Config(vocab_size=256, n_positions=192, n_embd=32, n_layer=2, n_head=2, bos_token_id=255, eos_token_id=255,
                        initializer_range=0.3)
    GPT2LMHeadModel(config).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


class Server:
    """A running `mobula serve`."""

    def __init__(self, *arguments, env=None):
        self.process = subprocess.Popen([str(BIN / "mobula"), "serve", *map(str, arguments)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        line = self.process.stdout.readline().strip()
        if not line.startswith("listening on http://"):
            raise AssertionError(f"{line!r}: {self.process.stderr.read()}")
        self.url = line.removeprefix("listening on ")
        self.port = int(self.url.rsplit(":", 1)[1])

    def client(self, key="none"):
        return openai.OpenAI(base_url=self.url + "/v1", api_key=key, max_retries=0, timeout=60)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        try:
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def stop(self, number=signal.SIGTERM):
        """Sends the signal (none where it was sent already) and returns exit code, output and log."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


class ServedModelTest(ProgramTest):
    """Tests of one server, which runs as long as the class: `client` asks it for the model in `model`."""

    NAME = "tiny"  # of the model's folder

    @classmethod
    def write_model(cls):
        write_gpt2(cls.model)

    @classmethod
    def setUpClass(cls):
        cls._models = tempfile.TemporaryDirectory(prefix="mobula-serve-")
        cls.addClassCleanup(cls._models.cleanup)
        cls.model = pathlib.Path(cls._models.name) / cls.NAME
        cls.write_model()
        cls.server = Server("--model", cls.model, "--port", 0)
        cls.addClassCleanup(cls.server.stop)
        cls.client = cls.server.client()
