"""polars and pyarrow on the inputs of bench_data; each run in a process of its own, the median of three."""
import glob, json, os, resource, shutil, subprocess, sys, time


def run(case, peer, folder):
    csvs = sorted(glob.glob(os.path.join(folder, "csv", "*.csv")))
    texts = sorted(glob.glob(os.path.join(folder, "text", "*.txt")))
    out = os.path.join(folder, "peer-out")
    if peer == "polars":
        import polars as pl
        start = time.perf_counter()
        if case == "csv":
            os.makedirs(out, exist_ok=True)
            (pl.scan_csv(csvs).filter(pl.col("x") > 0.5).with_columns(pl.col("s").str.to_uppercase(), pl.col("x") * 2)
                .sink_parquet(os.path.join(out, "o.parquet"), compression="snappy"))
        elif case == "text":
            frame = pl.scan_lines(texts, name="text").with_columns(pl.col("text").str.to_uppercase())
            frame.with_columns(len=pl.col("text").str.len_chars()).collect(engine="streaming").height
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
        else:
            pa.table({"id": np.arange(10_000_000)}).take(pa.array(np.random.default_rng(1).permutation(10_000_000))).num_rows
    seconds = time.perf_counter() - start
    shutil.rmtree(out, ignore_errors=True)
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
    for peer in ("polars", "pyarrow"):
        for case, metric in (("csv", "csv_to_parquet"), ("text", "text_map_count"), ("shuffle", "shuffle_10m")):
            runs = []
            for _ in range(3):
                done = subprocess.run([sys.executable, __file__, folder, "--one", f"{case},{peer}"], capture_output=True, text=True)
                if done.returncode == 0: runs.append(json.loads(done.stdout.splitlines()[-1]))
            if not runs:
                failed = True
                continue
            report(metric + "_s", sorted(r[0] for r in runs)[len(runs) // 2], "s", peer)
            if case != "shuffle": report(metric + "_peak_mb", max(r[1] for r in runs), "MB", peer)
    sys.exit(1 if failed else 0)


main()
