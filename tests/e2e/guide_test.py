"""Every C++ line that docs/core.md shows stands in tests/contract/guide_test.cpp, which is compiled and run."""
import re
import unittest

from mobula_program import SOURCE


class Guide(unittest.TestCase):
    def test_shows_only_what_is_compiled(self):
        guide = (SOURCE / "docs/core.md").read_text()
        compiled = " ".join((SOURCE / "tests/contract/guide_test.cpp").read_text().split())
        blocks = re.findall(r"```cpp\n(.*?)```", guide, re.S)
        self.assertGreater(len(blocks), 5)
        for block in blocks:
            # An empty line, or a comment, may stand for what the guide leaves out.
            for part in re.split(r"\n\s*(?://[^\n]*)?\n", re.sub(r"\s*//[^\n]*", "", block)):
                self.assertIn(" ".join(part.split()), compiled)


if __name__ == "__main__":
    unittest.main()
