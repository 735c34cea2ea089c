"""What the README shows is what the repository holds, builds and runs."""
import pathlib
import re
import shutil
import subprocess
import unittest

from mobula_program import BUILD, SOURCE, ProgramTest


class Readme(ProgramTest):
    def test_shown_files_are_the_real_ones(self):
        text = (SOURCE / "README.md").read_text()
        shown = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL)
        self.assertEqual(len(shown), 3)
        for name, content in shown:
            self.assertEqual(content, (SOURCE / name).read_text(), f"README.md shows another {name}")

    def test_links_lead_somewhere(self):
        for document in SOURCE.glob("*.md"):
            for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
                self.assertTrue((SOURCE / target).exists(), f"{document.name} links to {target}")

    def test_the_yaml_example_is_read_whole(self):
        printed = self.mobula("train", "--config", SOURCE / "recipes/shakespeare-char.yaml", "--print-config")
        self.assertIn("steps: 2000", printed)

    def test_the_cpp_example_builds_outside_the_tree(self):
        prefix = self.folder / "prefix"
        subprocess.run(["cmake", "--install", str(BUILD), "--prefix", str(prefix)], check=True, capture_output=True)
        program = self.folder / "program"
        program.mkdir()
        shutil.copy(SOURCE / "tests/e2e/outside/CMakeLists.txt", program)
        shutil.copy(SOURCE / "examples/hello/hello.cpp", program)
        for command in (["cmake", "-S", program, "-B", program / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}"],
                        ["cmake", "--build", program / "build"]):
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for isolation in ("thread", "process"):
            done = subprocess.run([str(program / "build/hello"), "--isolation", isolation], timeout=60)
            self.assertEqual(done.returncode, 0, isolation)
        self.assertIn("mobula ", subprocess.run([str(prefix / "bin/mobula"), "--version"], capture_output=True, text=True,
                                                check=True).stdout)


if __name__ == "__main__":
    unittest.main()
