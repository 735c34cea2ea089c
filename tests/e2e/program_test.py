"""The program itself: version, help, completion, usage errors."""
import subprocess
import unittest

from mobula_program import BIN, ProgramTest, run


def commands():
    return [c for c in run("__complete", "--").stdout.split() if not c.startswith("-")]


class Program(ProgramTest):
    def test_version_loads_neither_torch_nor_arrow(self):
        self.assertRegex(self.mobula("--version"), r"^mobula \d+\.\d+\.\d+\n$")
        self.expect_light(BIN / "mobula")

    def test_generation_loads_neither_torch_nor_arrow(self):
        self.expect_light(BIN.parent / "lib/libmobula_generate_commands.so")

    def expect_light(self, binary):
        loaded = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout
        # Names only: the addresses and folders beside them may spell anything.
        names = [line.split()[0] for line in loaded.splitlines()]
        self.assertTrue([name for name in names if name.startswith("libmobula_base.so")], names)
        for heavy in ("torch", "arrow", "c10"):
            self.assertFalse([name for name in names if heavy in name], heavy)

    def test_every_command_has_help_with_examples(self):
        self.assertIn("train", commands())
        for command in commands():
            text = self.mobula(command, "--help")
            if "SUBCOMMAND" in text:
                self.assertIn(f"Examples:\n  mobula {command} ", text, command)
                for sub in [c for c in run("__complete", "--", command).stdout.split() if not c.startswith("-")]:
                    self.assertIn(f"  mobula {command} {sub}", self.mobula(command, sub, "--help"), f"{command} {sub}")
            else:
                self.assertIn(f"  mobula {command}", text, command)

    def test_misspelt_words_are_refused_with_the_nearest(self):
        self.fails("quickstrat", code=2, error="unknown command 'quickstrat'", hint="mobula quickstart")
        self.fails("quickstart", "--step", "20", code=2, error="--step", hint="--steps")
        self.fails("quickstart", "--workers", "two", code=2, error="--workers")
        self.fails("tokenizer", "trian", code=2, error="mobula tokenizer: unknown command 'trian'", hint="'mobula tokenizer train'")
        self.fails("model", "zzz", code=2, error="mobula model: unknown command 'zzz'", hint="known: info, convert, quantize, merge, diff")
        self.fails("hub", code=2, error="mobula hub: a command is missing", hint="known: pull, ls, rm")
        self.fails("generate", "--model", "x", "--prompt", "y", "--max-tokens", "-5", code=2, error="--max-tokens: -5 is negative")
        self.fails("serve", "--model", "x", "--port", "-1", code=2, error="--port: -1 is negative")
        self.fails("quickstart", "--workers", "0", code=2, error="--workers is 0, expected at least 1")

    def test_completion_scripts_are_valid_shell(self):
        script = self.mobula("completion", "bash")
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        answer = subprocess.run(
            ["bash", "-c", script + "\nCOMP_WORDS=(mobula quickst); COMP_CWORD=1; _mobula; echo ${COMPREPLY[@]}"],
            capture_output=True, text=True, check=True, env={"PATH": f"{BIN}:/usr/bin:/bin"})
        self.assertEqual(answer.stdout.strip(), "quickstart")
        self.assertIn("  compadd -a answers\n", self.mobula("completion", "zsh"))
        self.assertIn("complete -c mobula -a", self.mobula("completion", "fish"))
        self.fails("completion", "tcsh", code=2, error="tcsh")


if __name__ == "__main__":
    unittest.main()
