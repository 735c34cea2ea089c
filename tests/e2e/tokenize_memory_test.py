"""Tokenizing lines that are longer than the memory the program may have."""
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import mobula_program

WORDS = b"To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer na\xc3\xafve slings and arrows "
LIMIT = 256 << 20  # of address space: program, libraries, threads' stacks and arenas
SIZE = int(os.environ.get("MOBULA_TEST_LINE_MB", "60")) << 20


class LongLines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        (cls.path / "corpus.txt").write_bytes(WORDS.replace(b", ", b"\n") * 50)
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers, decoders, processors, normalizers
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        bpe.train([str(cls.path / "corpus.txt")], trainers.BpeTrainer(
            vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"], show_progress=False))
        bpe.save(str(cls.path / "bpe.json"))
        piece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        piece.normalizer, piece.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        piece.train([str(cls.path / "corpus.txt")], trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
        piece.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
        piece.save(str(cls.path / "piece.json"))
        cls.tokenizers = {"bpe": bpe, "piece": piece}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def check(self, name):
        repeats = SIZE // len(WORDS)
        with open(self.path / "line.txt", "wb") as file:
            for _ in range(repeats):
                file.write(WORDS)
        tokenizer = self.tokenizers[name]
        # Every repetition gives the same ids: what one more adds is what each adds.
        two = tokenizer.encode((WORDS * 2).decode()).ids
        three = tokenizer.encode((WORDS * 3).decode()).ids
        period = len(three) - len(two)
        program = subprocess.Popen(
            [str(mobula_program.BIN / "mobula"), "tokenize", "--tokenizer", str(self.path / f"{name}.json"), "--input", str(self.path / "line.txt"), "--threads", "2"],
            stdout=subprocess.PIPE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)))
        count, head, tail = 0, b"", b""
        while chunk := program.stdout.read(1 << 20):
            count += chunk.count(b" ")
            if len(head) < 4096:
                head += chunk
            tail = (tail + chunk)[-4096:]
        program.stdout.close()
        self.assertEqual(program.wait(), 0)
        self.assertEqual(count + 1, len(two) + (repeats - 2) * period)
        self.assertEqual(list(map(int, head.split()[:50])), three[:50])
        self.assertEqual(list(map(int, tail.split()[-20:])), three[-20:])

    def test_byte_level_bpe(self):
        self.check("bpe")

    def test_word_piece(self):
        self.check("piece")


if __name__ == "__main__":
    unittest.main()
