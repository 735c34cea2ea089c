"""`mobula train`: killed and resumed runs equal uninterrupted ones bit for bit; bad input gets one clear line."""
import json
import os
import random
import resource
import signal
import subprocess
import time
import unittest

from mobula_program import BIN, ProgramTest

# Small enough that a run takes a second; every worker has one thread, as in a test run of many processes at once.
SMALL = ["model.layers=2", "model.heads=2", "model.hidden=32", "train.context=16", "train.batch_size=6", "train.warmup=5",
         "train.decay_steps=400", "train.eval_every=50", "checkpoint.every=20", "scaling.threads=1"]


def arguments(out, *settings, **options):
    result = ["train", "--out", out]
    for setting in [*SMALL, *settings]:
        result += ["--set", setting]
    return result + [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(folder):
    """What must be equal: everything but time and speed. Floats compare bit for bit, since they round-trip."""
    return [{k: v for k, v in line.items() if k not in ("time", "tokens_per_s")} for line in metrics(folder)]


def events(folder, kind):
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def text(size, seed):
    words = ["to", "be", "or", "not", "that", "is", "the", "question", "whether", "nobler", "in", "mind"]
    source = random.Random(seed)
    return " ".join(source.choice(words) for _ in range(size // 5)) + "\n"


class TrainTest(ProgramTest):
    def mobula(self, *arguments, **options):
        return super().mobula(*arguments, timeout=90, **options)

    def setUp(self):
        super().setUp()
        (self.folder / "text.txt").write_text(text(20000, 1))

    def start(self, *command, **options):
        process = subprocess.Popen([str(BIN / "mobula"), *map(str, command)], cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, **options)

        def stop():
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(stop)
        return process

    def wait_for_step(self, out, step, process):
        """Returns as soon as metrics.jsonl has a line of that step."""
        path = self.folder / out / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if path.exists():
                lines = path.read_text().splitlines()
                for line in reversed(lines[-3:]):
                    try:
                        if json.loads(line)["step"] >= step:
                            return
                    except json.JSONDecodeError:
                        pass  # still being written
            self.assertIsNone(process.poll(), process.communicate()[1] if process.poll() is not None else "")
            time.sleep(0.001)
        self.fail(f"no step {step} within two minutes")

    def pids(self, out):
        return [worker["pid"] for worker in json.loads((self.folder / out / "workers.json").read_text())]


class Failures(TrainTest):
    def check_kill(self, workers):
        settings = [f"scaling.workers={workers}", "train.steps=400", "train.dropout=0.1"]
        whole = self.mobula_json(*arguments("whole", *settings, data="text.txt"))
        process = self.start(*arguments("killed", *settings, data="text.txt", json=True))
        self.wait_for_step("killed", 130, process)
        before = self.pids("killed")
        os.kill(before[-1], signal.SIGKILL)
        output, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, errors)
        killed = json.loads(output.splitlines()[-1])
        self.assertEqual(killed["restarts"], 1)
        self.assertEqual(whole["restarts"], 0)
        self.assertEqual(curve(self.folder / "killed"), curve(self.folder / "whole"))
        for key in ("steps", "loss", "val_loss", "best_val_loss"):
            self.assertEqual(killed[key], whole[key], key)
        self.assertEqual(len(metrics(self.folder / "whole")), 400 + 8)
        self.assertTrue(set(before).isdisjoint(self.pids("killed")))
        (restart,) = events(self.folder / "killed", "restart")
        self.assertEqual((restart["rank"], restart["signal"]), (workers - 1, signal.SIGKILL))
        self.assertIn(f"rank {workers - 1} was ended by signal 9", errors)
        for name in ("best", "last"):
            self.assertEqual((self.folder / "killed" / name / "model.safetensors").read_bytes(),
                             (self.folder / "whole" / name / "model.safetensors").read_bytes(), name)

    def test_one_worker_killed_gives_the_same_curve(self):
        self.check_kill(1)

    def test_one_of_two_workers_killed_gives_the_same_curve(self):
        self.check_kill(2)

    def test_one_of_three_workers_killed_gives_the_same_curve(self):
        self.check_kill(3)

    def test_gradient_accumulation_survives_a_kill_too(self):
        settings = ["scaling.workers=2", "train.batch_size=7", "train.micro_batch=2", "train.steps=60"]
        self.mobula(*arguments("whole", *settings, data="text.txt"))
        process = self.start(*arguments("killed", *settings, data="text.txt"))
        self.wait_for_step("killed", 25, process)
        os.kill(self.pids("killed")[0], signal.SIGKILL)
        self.assertEqual(process.wait(timeout=120), 0)
        self.assertEqual(curve(self.folder / "killed"), curve(self.folder / "whole"))

    def test_killed_driver_leaves_no_worker_and_its_run_resumes(self):
        self.mobula(*arguments("whole", "train.steps=400", data="text.txt"))
        process = self.start(*arguments("killed", "train.steps=400", "scaling.workers=1", data="text.txt"))
        self.wait_for_step("killed", 130, process)
        (worker,) = self.pids("killed")
        process.kill()
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertFalse(os.path.exists(f"/proc/{worker}"), "the worker outlived its driver")
        self.mobula(*arguments("killed", "train.steps=400", data="text.txt", resume=True))
        self.assertEqual(curve(self.folder / "killed"), curve(self.folder / "whole"))

    def test_a_signal_saves_the_state_and_ends_with_75(self):
        self.mobula(*arguments("whole", "train.steps=400", data="text.txt"))
        for number in (signal.SIGTERM, signal.SIGINT):
            out = f"stopped-{number}"
            process = self.start(*arguments(out, "train.steps=400", data="text.txt"), start_new_session=True)
            self.wait_for_step(out, 50, process)
            os.killpg(process.pid, number)  # as a terminal or a batch system does: workers get it too
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 75, errors)
            self.assertIn("error: stopped after step", errors)
            self.assertIn("hint: the same command with --resume goes on", errors)
            stopped_at = metrics(self.folder / out)[-1]["step"]
            self.assertIn(f"step-{stopped_at:08}", os.readlink(self.folder / out / "last"))
            self.mobula("train", "--out", out, "--resume")  # the run's own configuration
            self.assertEqual(curve(self.folder / out), curve(self.folder / "whole"))

    def test_gives_up_on_a_worker_that_always_dies(self):
        # Too little address space to load libtorch: every start ends alike.
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

        process = self.start(*arguments("poor", "scaling.max_restarts=1", data="text.txt"), preexec_fn=limit)
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 1, errors)
        self.assertIn("error: ", errors)
        self.assertFalse((self.folder / "poor" / "config.yaml").exists())


class Resuming(TrainTest):
    def test_finished_run_prints_its_last_line_again(self):
        first = self.mobula_json(*arguments("run", "train.steps=10", data="text.txt"))
        before = (self.folder / "run" / "metrics.jsonl").read_bytes()
        again = self.mobula_json(*arguments("run", "train.steps=10", data="text.txt", resume=True))
        self.assertEqual(first, again)
        self.assertEqual(before, (self.folder / "run" / "metrics.jsonl").read_bytes())

    def test_empty_folder_starts_and_more_steps_go_on(self):
        (self.folder / "run").mkdir()
        self.assertEqual(self.mobula_json(*arguments("run", "train.steps=30", data="text.txt", resume=True))["steps"], 30)
        more = arguments("run", "train.steps=60", "scaling.workers=2", "checkpoint.keep=1", data="text.txt", resume=True)
        self.assertEqual(self.mobula_json(*more)["steps"], 60)
        steps = [line["step"] for line in metrics(self.folder / "run") if "loss" in line]
        self.assertEqual(steps, list(range(1, 61)))

    def test_folder_that_holds_a_run_is_refused_without_resume(self):
        self.mobula(*arguments("run", "train.steps=3", data="text.txt"))
        self.fails(*arguments("run", "train.steps=3", data="text.txt"), code=2, error="run holds a run", hint="--resume")

    def test_another_model_or_text_is_refused(self):
        self.mobula(*arguments("run", "train.steps=3", data="text.txt"))
        self.fails(*arguments("run", "train.steps=6", "model.layers=3", data="text.txt", resume=True), code=2,
                   error="model.layers was 2, is 3", hint="train.steps")
        (self.folder / "text.txt").write_text(text(20000, 2))
        self.fails(*arguments("run", "train.steps=6", data="text.txt", resume=True), code=2,
                   error="is not the text that this run began with", hint="--out")

    def test_damaged_checkpoint_is_passed_over(self):
        self.mobula(*arguments("whole", "train.steps=80", data="text.txt"))
        self.mobula(*arguments("run", "train.steps=60", "train.eval_every=0", "checkpoint.keep=3", data="text.txt"))
        checkpoints = self.folder / "run" / "checkpoints"
        self.assertEqual(sorted(os.listdir(checkpoints)), ["step-00000020", "step-00000040", "step-00000060"])
        model = checkpoints / "step-00000060" / "model.safetensors"
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        os.truncate(checkpoints / "step-00000040" / "trainer" / "optimizer.safetensors", 1000)
        self.mobula("train", "--out", "run", "--resume", "--set", "train.steps=80")
        reasons = [line["reason"] for line in events(self.folder / "run", "checkpoint_passed_over")]
        self.assertEqual(len(reasons), 2)
        self.assertIn("step 60: model.safetensors is damaged", reasons[0])
        self.assertIn("step 40: trainer/optimizer.safetensors has 1000 bytes", reasons[1])
        losses = [line["loss"] for line in metrics(self.folder / "run") if "loss" in line]
        self.assertEqual(losses, [line["loss"] for line in metrics(self.folder / "whole") if "loss" in line])

    def test_only_damaged_checkpoints_are_refused(self):
        self.mobula(*arguments("run", "train.steps=20", data="text.txt"))
        for folder in (self.folder / "run" / "checkpoints").iterdir():
            (folder / "trainer" / "state.json").write_text("{")
        self.fails("train", "--out", "run", "--resume", "--set", "train.steps=30", code=1,
                   error="none of the 1 checkpoints is whole", hint="bring one back")

    def test_full_disk_keeps_the_checkpoint_before(self):
        settings = ["train.steps=200", "train.eval_every=0"]
        self.mobula(*arguments("whole", *settings, data="text.txt"))
        process = self.start(*arguments("run", *settings, data="text.txt"))
        self.wait_for_step("run", 50, process)
        # No file may grow over 64 KiB any more: the disk is full for models, not for metrics.
        resource.prlimit(self.pids("run")[0], resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 1, errors)
        self.assertRegex(errors.splitlines()[-1], "^error: .*model.safetensors: File too large")
        failed = events(self.folder / "run", "checkpoint_failed")
        self.assertIn("File too large", failed[0]["reason"])
        last = self.folder / "run" / "last"
        self.assertLess(int(os.readlink(last)[-8:]), failed[0]["step"])
        self.assertTrue((last / "trainer" / "manifest.json").exists())
        self.assertFalse([name for name in os.listdir(self.folder / "run" / "checkpoints") if name.startswith(".")])
        self.mobula("train", "--out", "run", "--resume")
        self.assertEqual(curve(self.folder / "run"), curve(self.folder / "whole"))


class Input(TrainTest):
    def refuse(self, *settings, code=2, error, hint="", **options):
        self.fails(*arguments("run", *settings, **{"data": "text.txt", **options}), code=code, error=error, hint=hint)
        self.assertFalse((self.folder / "run" / "config.yaml").exists(), "a refused run must not hold its folder")

    def test_configuration_mistakes(self):
        self.refuse("scaling.workers=0", error="scaling.workers is 0, expected 1 to 1024")
        self.refuse("train.stepz=3", error="unknown key 'train.stepz'", hint="steps")
        self.refuse("train.steps=many", error="'train.steps' is 'many', expected a whole number")
        self.refuse("train.precision=fp8", error="train.precision is 'fp8'")
        self.refuse("model.family=gtp2", code=1, error="gtp2", hint="gpt2")
        (self.folder / "bad.yaml").write_text("train:\n  steps: 10\n lr: 1\n")
        self.fails("train", "--config", "bad.yaml", "--out", "run", code=2, error="bad.yaml:3")
        self.fails("train", "--config", "none.yaml", "--out", "run", code=1, error="none.yaml")
        self.fails("train", code=2, error="--out is missing", hint="--out")

    def test_data_mistakes_can_be_mended_in_the_same_folder(self):
        self.refuse(data="none.txt", code=1, error="none.txt: no such file", hint="data.path")
        (self.folder / "empty.txt").touch()
        self.refuse(data="empty.txt", error="empty.txt: is empty")
        (self.folder / "binary").write_bytes(bytes(range(256)) * 10)
        self.refuse(data="binary", error="binary: looks binary")
        (self.folder / "short.txt").write_text("too short a text")
        self.refuse(data="short.txt", error="training split has 14 tokens", hint="train.context")
        self.refuse("train.batch_size=2", "scaling.workers=3", error="train.batch_size is 2")
        self.mobula(*arguments("run", "train.steps=2", data="text.txt"))

    def test_tables_and_other_tokenizers(self):
        rows = [text(2000, seed) for seed in range(8)]
        (self.folder / "rows.jsonl").write_text("".join(json.dumps({"body": row}) + "\n" for row in rows))
        for kind in ("byte", "char", "bpe"):
            result = self.mobula_json(*arguments(kind, "train.steps=3", f"tokenizer.kind={kind}", "tokenizer.vocab_size=300",
                                                 "data.column=body", data="rows.jsonl"))
            self.assertEqual(result["steps"], 3)
        self.refuse("data.column=text", code=1, error="rows.jsonl: row 1: no key 'text'", data="rows.jsonl")

    def test_print_config_reads_back(self):
        printed = self.mobula(*arguments("run", "train.lr=3e-4"), "--print-config")
        self.assertIn("lr: 0.0003", printed)
        (self.folder / "printed.yaml").write_text(printed)
        self.assertEqual(self.mobula("train", "--config", "printed.yaml", "--print-config"), printed)
        self.assertFalse((self.folder / "run").exists())


class Results(TrainTest):
    def test_transformers_finds_the_same_validation_loss_in_the_best_checkpoint(self):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        result = self.mobula_json(*arguments("run", "train.steps=60", "scaling.workers=2", data="text.txt"))
        best = self.folder / "run" / "best"
        model = AutoModelForCausalLM.from_pretrained(best)
        tokenizer = AutoTokenizer.from_pretrained(best)
        content = (self.folder / "text.txt").read_text()
        ids = torch.tensor(tokenizer(content, add_special_tokens=False)["input_ids"])
        self.assertEqual(tokenizer.decode(ids[:200]), content[:200])
        validation = ids[int(len(ids) * 0.9):]
        total = 0.0
        with torch.no_grad():
            for begin in range(0, len(validation) - 1, 16):
                window = validation[begin:begin + 17]
                logits = model(window[None, :-1]).logits[0]
                total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
        self.assertAlmostEqual(total / (len(validation) - 1), result["best_val_loss"], delta=1e-4)
        chat = tokenizer.apply_chat_template([{"role": "user", "content": "to be"}], tokenize=False)
        self.assertEqual(chat, "to be")

    def test_metrics_hold_what_readers_rely_on(self):
        result = self.mobula_json(*arguments("run", "train.steps=10", data="text.txt"))
        self.assertEqual(set(result), {"steps", "loss", "val_loss", "best_val_loss", "tokens_per_s", "checkpoint", "restarts"})
        lines = metrics(self.folder / "run")
        self.assertEqual(list(lines[0]), ["step", "loss", "lr", "tokens_per_s", "time"])
        self.assertEqual(list(lines[-1]), ["step", "val_loss"])
        (worker,) = json.loads((self.folder / "run" / "workers.json").read_text())
        self.assertEqual(list(worker), ["rank", "pid", "host"])
        shown = self.mobula("runs", "list")
        self.assertIn("run", shown)

    def test_diverging_run_skips_batches_and_then_stops(self):
        done = self.fails(*arguments("run", "train.lr=1e38", "train.min_lr=1e38", "train.warmup=0", "train.grad_clip=0",
                                     "train.steps=300", "train.eval_every=0", data="text.txt"), code=1,
                          error="training diverged", hint="train.lr")
        self.assertIn("skipped_batch", done.stderr)
        self.assertTrue(events(self.folder / "run", "skipped_batch"))
        self.assertIsNone(metrics(self.folder / "run")[-1]["loss"])

    def test_two_drivers_can_not_share_a_folder(self):
        process = self.start(*arguments("run", "train.steps=100000", data="text.txt"))
        self.wait_for_step("run", 1, process)
        self.fails(*arguments("run", "train.steps=100000", data="text.txt", resume=True), code=1,
                   error="another mobula train is at work", hint="--out")


if __name__ == "__main__":
    unittest.main()
