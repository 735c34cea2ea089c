"""tokenize_memory_test with a line of 1 GB. ctest-labels: slow"""
import os
import unittest

os.environ["MOBULA_TEST_LINE_MB"] = "954"
from tokenize_memory_test import LongLines  # noqa: E402,F401: the tests that are run

if __name__ == "__main__":
    unittest.main()
