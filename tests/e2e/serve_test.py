"""mobula serve against OpenAI's Python client, and its start and end as a process."""
import concurrent.futures
import signal
import socket
import time
import unittest

import openai

from model_server import Server, ServedModelTest


class ServeTest(ServedModelTest):
    def test_lists_the_model_under_its_folders_name(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["tiny"])
        self.assertEqual(self.client.models.retrieve("tiny").id, "tiny")

    def test_completes_as_mobula_generate_does(self):
        answer = self.client.completions.create(model="tiny", prompt="To be", max_tokens=20, temperature=0)
        generated = self.mobula_json("generate", "--model", self.model, "--prompt", "To be", "--max-tokens", 20,
                                     "--temperature", 0)
        self.assertEqual(answer.choices[0].text, generated["text"])
        self.assertEqual(answer.choices[0].finish_reason, generated["finish_reason"])
        self.assertEqual(answer.usage.prompt_tokens, 5)
        self.assertEqual(answer.usage.completion_tokens, generated["completion_tokens"])

    def test_streams_what_it_answers_at_once(self):
        request = dict(model="tiny", prompt="To be", max_tokens=40, seed=3)
        whole = self.client.completions.create(**request).choices[0].text
        chunks = list(self.client.completions.create(**request, stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(c.choices[0].text for c in chunks if c.choices), whole)
        self.assertGreater(len(chunks), 2)
        self.assertEqual(chunks[-1].usage.prompt_tokens, 5)

    def test_chats_and_streams_chats(self):
        request = dict(model="tiny", messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=30, seed=5)
        whole = self.client.chat.completions.create(**request)
        self.assertEqual(whole.choices[0].message.role, "assistant")
        prompt = self.client.completions.create(model="tiny", prompt="<user>Hello<assistant>", max_tokens=30, seed=5)
        self.assertEqual(whole.choices[0].message.content, prompt.choices[0].text)
        chunks = list(self.client.chat.completions.create(**request, stream=True))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), whole.choices[0].message.content)
        self.assertIn(chunks[-1].choices[0].finish_reason, ("length", "stop"))

    def test_reports_logprobs(self):
        answer = self.client.completions.create(model="tiny", prompt="abc", max_tokens=4, temperature=0, logprobs=3,
                                                echo=True)
        logprobs = answer.choices[0].logprobs
        self.assertIsNone(logprobs.token_logprobs[0])
        self.assertEqual(len(logprobs.tokens), 3 + answer.usage.completion_tokens)
        scored = self.mobula_json("score", "--model", self.model, "--text", "abc")
        for ours, theirs in zip(logprobs.token_logprobs[1:3], scored["logprobs"][1:3]):
            self.assertAlmostEqual(ours, theirs, places=5)
        chat = self.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "abc"}],
                                                   max_tokens=2, temperature=0, logprobs=True, top_logprobs=2)
        for token in chat.choices[0].logprobs.content:
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertEqual(token.top_logprobs[0].logprob, token.logprob)

    def test_answers_the_same_alone_and_among_others(self):
        def complete(seed):
            return self.client.completions.create(model="tiny", prompt=f"seed {seed}", max_tokens=40,
                                                  seed=seed).choices[0].text
        alone = [complete(seed) for seed in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual(list(pool.map(complete, range(8))), alone)

    def test_refuses_with_the_clients_own_errors(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.completions.create(model="other", prompt="x")
        with self.assertRaises(openai.BadRequestError) as refused:
            self.client.completions.create(model="tiny", prompt="x" * 200)
        self.assertEqual(refused.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError) as refused:
            self.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}],
                                                tools=[{"type": "function", "function": {"name": "f"}}])
        self.assertEqual(refused.exception.param, "tools")
        with self.assertRaisesRegex(openai.BadRequestError, "never"):
            self.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "no"}])

    def test_cancels_when_the_client_goes_away(self):
        before = self.server.get("/metrics")
        count = lambda text: int(next(l for l in text.splitlines() if l.startswith("mobula_disconnects_total")).split()[1])
        stream = self.client.completions.create(model="tiny", prompt="x", max_tokens=180, n=64, stream=True)
        next(iter(stream))
        stream.close()
        for _ in range(500):
            metrics = self.server.get("/metrics")
            if count(metrics) > count(before) and "\nmobula_continuations 0\n" in metrics:
                return
            time.sleep(0.02)
        self.fail(metrics)

    def test_drains_on_sigterm_and_frees_its_port(self):
        server = Server("--model", self.model, "--port", 0, "--name", "other")
        self.assertEqual(server.client().models.list().data[0].id, "other")
        stream = server.client().completions.create(model="other", prompt="x", max_tokens=150, temperature=0, stream=True,
                                                    extra_body={"ignore_eos": True})
        iterator = iter(stream)
        next(iterator)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual([c.choices[0].finish_reason for c in iterator][-1], "length")
        code, _, err = server.stop(None)
        self.assertEqual(code, 0, err)
        self.assertEqual(Server("--model", self.model, "--port", server.port).stop(signal.SIGINT)[0], 0)

    def test_asks_for_the_key_and_never_logs_it(self):
        key = self.folder / "key.txt"
        key.write_text("s3cret-key\n")
        server = Server("--model", self.model, "--port", 0, "--api-key-file", key, "--log-level", "debug")
        with self.assertRaises(openai.AuthenticationError):
            server.client("wrong").models.list()
        self.assertEqual(server.client("s3cret-key").models.list().data[0].id, "tiny")
        _, out, err = server.stop()
        self.assertNotIn("s3cret-key", out + err)

    def test_fails_with_one_clear_line(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.fails("serve", "--model", self.model, "--port", port, code=1, error=f"127.0.0.1:{port}", hint="--port")
        self.fails("serve", "--model", self.folder / "nothing", "--port", 0, code=1, error="no such folder")
        self.fails("serve", "--model", self.model, "--port", 70000, code=2)
        (self.folder / "empty").write_text("")
        self.fails("serve", "--model", self.model, "--api-key-file", self.folder / "empty", code=2, error="holds no key")


if __name__ == "__main__":
    unittest.main()
