"""polars, pyarrow, HF datasets and mosaicml-streaming on the inputs of bench_data; each run in a process of its own, the median
of three (of one for what takes long)."""
import glob, json, os, resource, shutil, subprocess, sys, time


def run(case, peer, folder):
    csvs = sorted(glob.glob(os.path.join(folder, "csv", "*.csv")))
    texts = sorted(glob.glob(os.path.join(folder, "text", "*.txt")))
    out = os.path.join(folder, "peer-out")
    many = sorted(glob.glob(os.path.join(folder, "many", "*.parquet")))
    if peer == "streaming":
        # Resuming in the middle of an epoch: what StreamingDataset works out anew, for the one rank.
        import importlib, types
        import numpy as np
        site = os.path.dirname(os.path.dirname(np.__file__))
        for name in ("streaming", "streaming.base", "streaming.base.partition"):  # not every cloud's client
            module = types.ModuleType(name)
            module.__path__ = [os.path.join(site, *name.split("."))]
            sys.modules[name] = module
        from streaming.base.shuffle import get_shuffle
        orig = importlib.import_module("streaming.base.partition.orig")
        start = time.perf_counter()
        samples = 10_000_000
        ids = orig.get_partitions_orig(samples, 1, 1, 1, 1, 1024, samples // 2)
        order = get_shuffle("py1e", np.full(100, samples // 100), 1, 9176, 0, 4_000_000)
        np.where(ids != -1, order[ids], -1)
    elif peer == "datasets":
        os.environ["HF_DATASETS_CACHE"] = os.path.join(folder, "peer-cache")
        os.environ["HF_HUB_OFFLINE"] = "1"
        import datasets
        datasets.disable_progress_bars()
        start = time.perf_counter()
        if case == "csv":
            rows = datasets.load_dataset("csv", data_files=csvs, split="train", cache_dir=os.environ["HF_DATASETS_CACHE"])
            rows = rows.filter(lambda batch: [x > 0.5 for x in batch["x"]], batched=True)
            rows = rows.map(lambda batch: {"s": [s and s.upper() for s in batch["s"]], "x": [x * 2 for x in batch["x"]]}, batched=True)
            rows.to_parquet(out + ".parquet")
        elif case == "text":
            rows = datasets.load_dataset("text", data_files=texts, split="train", cache_dir=os.environ["HF_DATASETS_CACHE"])
            rows = rows.map(lambda batch: {"text": [t.upper() for t in batch["text"]], "len": [len(t) for t in batch["text"]]}, batched=True)
            len(rows)
        elif case == "first":
            next(iter(datasets.load_dataset("parquet", data_files=many, split="train", streaming=True).iter(batch_size=32)))
        else:
            datasets.Dataset.from_dict({"id": range(10_000_000)}).shuffle(seed=1).flatten_indices().num_rows
    elif peer == "polars":
        import polars as pl
        start = time.perf_counter()
        if case == "csv":
            os.makedirs(out, exist_ok=True)
            (pl.scan_csv(csvs).filter(pl.col("x") > 0.5).with_columns(pl.col("s").str.to_uppercase(), pl.col("x") * 2)
                .sink_parquet(os.path.join(out, "o.parquet"), compression="snappy"))
        elif case == "text":
            frame = pl.scan_lines(texts, name="text").with_columns(pl.col("text").str.to_uppercase())
            frame.with_columns(len=pl.col("text").str.len_chars()).collect(engine="streaming").height
        elif case == "first":
            pl.scan_parquet(many).head(32).collect().height
        else:
            pl.DataFrame({"id": pl.int_range(10_000_000, eager=True)}).sample(fraction=1.0, shuffle=True, seed=1).height
    else:
        import numpy as np, pyarrow as pa, pyarrow.compute as pc, pyarrow.csv as pcsv, pyarrow.dataset as pd
        start = time.perf_counter()
        if case == "csv":
            d = pd.dataset(csvs, format="csv")
            columns = {n: pc.field(n) for n in d.schema.names}
            columns["s"] = pc.utf8_upper(pc.field("s")); columns["x"] = pc.multiply(pc.field("x"), 2.0)
            pd.write_dataset(d.scanner(columns=columns, filter=pc.field("x") > 0.5), out, format="parquet")
        elif case == "text":
            lines = pd.CsvFileFormat(parse_options=pcsv.ParseOptions(delimiter="\x01", quote_char=False, ignore_empty_lines=False),
                                     read_options=pcsv.ReadOptions(column_names=["text"]))
            d = pd.dataset(texts, format=lines, schema=pa.schema({"text": pa.string()}))
            u = pc.utf8_upper(pc.field("text"))
            d.to_table(columns={"text": u, "len": pc.utf8_length(u)}).num_rows
        elif case == "first":
            next(pd.dataset(many, format="parquet").to_batches(batch_size=32)).num_rows
        else:
            pa.table({"id": np.arange(10_000_000)}).take(pa.array(np.random.default_rng(1).permutation(10_000_000))).num_rows
    seconds = time.perf_counter() - start
    for path in (out, os.path.join(folder, "peer-cache")): shutil.rmtree(path, ignore_errors=True)
    if os.path.exists(out + ".parquet"): os.remove(out + ".parquet")
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def report(metric, value, unit, peer):
    if "--json" in sys.argv:
        print(json.dumps({"bench": "data", "metric": metric, "value": value, "unit": unit, "peer": peer}), flush=True)
    else:
        print(f"{metric:<26} {peer:<8} {value:>10.4g} {unit}", flush=True)


def main():
    folder = sys.argv[1]
    if len(sys.argv) > 3 and sys.argv[2] == "--one":
        return run(*sys.argv[3].split(","), folder)
    failed = False
    slow = "--slow" in sys.argv
    cases = (("csv", "csv_to_parquet"), ("text", "text_map_count"), ("shuffle", "shuffle_10m"), ("first", "first_batch_10k_files"))
    for peer in ("polars", "pyarrow", "datasets", "streaming"):
        for case, metric in (("resume", "resume_1e7"),) if peer == "streaming" else cases:
            if peer == "datasets" and case in ("csv", "text") and not slow: continue  # up to a minute each
            runs = []
            for _ in range(1 if peer in ("datasets", "streaming") else 3):
                done = subprocess.run([sys.executable, __file__, folder, "--one", f"{case},{peer}"], capture_output=True, text=True)
                if done.returncode == 0: runs.append(json.loads(done.stdout.splitlines()[-1]))
            if not runs:
                failed = True
                continue
            seconds = sorted(r[0] for r in runs)[len(runs) // 2]
            report(metric + ("_ms" if case == "resume" else "_s"), seconds * (1000 if case == "resume" else 1), "ms" if case == "resume" else "s", peer)
            if case in ("csv", "text"): report(metric + "_peak_mb", max(r[1] for r in runs), "MB", peer)
    sys.exit(1 if failed else 0)


main()
