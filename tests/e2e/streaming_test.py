"""mosaicml-streaming's StreamingDataset over several ranks: it reads what we write, and we read in its order."""
import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys
import types
import unittest

import mobula_program

ROWS = 1000
EPOCHS = 2
# What both sides are told, spelt as StreamingDataset's parameters.
ORDERS = [
    {"shuffle": True, "shuffle_algo": "py1e", "shuffle_seed": 7, "num_canonical_nodes": 4, "batch_size": 8, "shuffle_block_size": 100},
    {"shuffle": True, "shuffle_algo": "py1s", "shuffle_seed": 11, "num_canonical_nodes": 2, "batch_size": 5},
    {"shuffle": False, "num_canonical_nodes": 1, "batch_size": 16},
]


def import_streaming():
    """Imports parts of mosaicml-streaming alone: all of it imports every cloud's client at once."""
    site = pathlib.Path(importlib.util.find_spec("numpy").origin).parents[1]
    for name in ("streaming", "streaming.base"):
        module = types.ModuleType(name)
        module.__path__ = [str(site.joinpath(*name.split(".")))]
        sys.modules[name] = module
    from streaming.base.dataset import StreamingDataset
    from streaming.base.format.mds.writer import MDSWriter
    return StreamingDataset, MDSWriter


def be_a_rank(folder, order):
    """Prints the ids that StreamingDataset gives to this rank, a line for each epoch."""
    dataset = import_streaming()[0](local=folder, **json.loads(order))
    for _ in range(EPOCHS):
        print(json.dumps([int(sample["id"]) for sample in dataset]), flush=True)


class StreamingTest(mobula_program.ProgramTest):
    def their_order(self, folder, order, ranks):
        """Returns the ids that each rank of a node gets, epoch by epoch."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        processes = [
            subprocess.Popen([sys.executable, __file__, "rank", str(folder), json.dumps(order)], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks),
                                  "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                                  "TMPDIR": str(self.folder)})
            for rank in range(ranks)]
        try:
            done = [process.communicate(timeout=120) for process in processes]
        finally:
            for process in processes:
                process.kill()
        for process, (_, errors) in zip(processes, done):
            self.assertEqual(process.returncode, 0, errors)
        return [[json.loads(line) for line in out.splitlines()] for out, _ in done]

    def our_order(self, folder, order, ranks, rank, epoch):
        told = {**order, "ranks_per_node": ranks, "rank": rank, "epoch": epoch}
        (self.folder / "p.yaml").write_text(f"source: {{mds: {folder.name}/, order: {json.dumps(told)}}}\nsink: {{jsonl: out.jsonl}}\n")
        self.mobula("data", "run", "p.yaml")
        return [json.loads(line)["id"] for line in (self.folder / "out.jsonl").read_text().splitlines()]

    def compare(self, folder, *cases):
        self.assertGreater(len(list(folder.glob("shard*"))), 3)
        for ranks, order in cases:
            with self.subTest(ranks=ranks, order=order):
                theirs = self.their_order(folder, order, ranks)
                for epoch in range(EPOCHS):
                    self.assertEqual(set().union(*(rank[epoch] for rank in theirs)), set(range(ROWS)))
                    for rank in range(ranks):
                        self.assertEqual(self.our_order(folder, order, ranks, rank, epoch), theirs[rank][epoch])

    def test_streaming_dataset_reads_what_we_write(self):
        (self.folder / "in.jsonl").write_text("".join(json.dumps({"id": i, "text": f"text {i}"}) + "\n" for i in range(ROWS)))
        (self.folder / "p.yaml").write_text("source: {jsonl: in.jsonl}\nsink: {mds: ours/, part_size: 4KB, compression: zstd}\n")
        self.mobula("data", "run", "p.yaml")
        self.compare(self.folder / "ours", (2, ORDERS[0]))

    def test_we_read_what_streaming_writes(self):
        with import_streaming()[1](columns={"id": "int", "text": "str"}, out=str(self.folder / "theirs"), size_limit=4096) as out:
            for i in range(ROWS):
                out.write({"id": i, "text": f"text {i}"})
        self.compare(self.folder / "theirs", (1, ORDERS[1]), (2, ORDERS[2]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        be_a_rank(*sys.argv[2:])
    else:
        unittest.main()
