// Files that we write are read by pyarrow, and pyarrow's by us. Test-only: the private folder's Python brings pyarrow.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "mobula/base/files.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/describe.hpp"

namespace mobula::data {
namespace {

class Interop : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  /// Runs Python with `d` as the folder; what it prints is the message of a failure.
  void python(const std::string& program) const {
    ASSERT_TRUE(std::filesystem::exists(MOBULA_TEST_PYTHON)) << MOBULA_TEST_PYTHON << " is missing: run ./dev setup";
    write_file_atomic(path("test.py"),
                      fmt::format("import pyarrow as pa, pyarrow.parquet as pq, pyarrow.csv as pc, json\nd = '{}/'\n{}",
                                  folder_.path().string(), program));
    const std::string command =
        fmt::format("cd '{}' && '{}' test.py > log 2>&1", folder_.path().string(), MOBULA_TEST_PYTHON);
    EXPECT_EQ(std::system(command.c_str()), 0) << read_file(path("log"));
  }
  TemporaryDirectory folder_;
};

TEST_F(Interop, PyarrowReadsWhatWeWrite) {
  const auto rows = Dataset::range(10000).with(
      {{"x", "id / 4"}, {"s", "if(id % 3 == 0, cast(null, 'string'), concat('t', id))"}, {"b", "id % 2 == 0"}});
  rows.write_file(path("a.parquet"), "parquet");
  rows.write_file(path("a.arrow"), "ipc");
  rows.write_file(path("a.csv"), "csv");
  rows.write_file(path("a.jsonl"), "jsonl");
  for (const char* codec : {"none", "zstd", "gzip", "lz4", "brotli"}) {
    WriteOptions options;
    options.compression = codec;
    rows.write_file(path(fmt::format("a.{}.parquet", codec)), "parquet", options);
  }
  python(R"(
want = pa.table({'id': list(range(10000)), 'x': [i / 4 for i in range(10000)],
                 's': [None if i % 3 == 0 else f't{i}' for i in range(10000)], 'b': [i % 2 == 0 for i in range(10000)]})
for name in ['a.parquet'] + [f'a.{c}.parquet' for c in ('none', 'zstd', 'gzip', 'lz4', 'brotli')]:
    got = pq.read_table(d + name)
    assert got.to_pydict() == want.to_pydict(), name
assert pa.ipc.open_file(d + 'a.arrow').read_all().to_pydict() == want.to_pydict()
got = pc.read_csv(d + 'a.csv', convert_options=pc.ConvertOptions(strings_can_be_null=True))
assert got.to_pydict() == want.to_pydict()
assert [json.loads(l) for l in open(d + 'a.jsonl')] == want.to_pylist()
)");
}

TEST_F(Interop, WeReadWhatPyarrowWrites) {
  python(R"(
import datetime, decimal
t = pa.table({'i8': pa.array([1, None, -3], pa.int8()), 'u64': pa.array([0, 2**64 - 1, None], pa.uint64()),
              'f32': pa.array([0.1, None, -2.5], pa.float32()), 'dict': pa.array(['a', 'b', 'a']).dictionary_encode(),
              'large': pa.array(['x', None, ''], pa.large_string()), 'view': pa.array(['v', 'w', None], pa.string_view()),
              'ts': pa.array([0, 1_500_000_000_123_456_789, None], pa.timestamp('ns', 'Europe/Berlin')),
              'day': pa.array([datetime.date(2024, 2, 29), None, datetime.date(1900, 1, 1)]),
              'dec': pa.array([decimal.Decimal('1.50'), None, decimal.Decimal('-0.01')], pa.decimal128(10, 2)),
              'list': pa.array([[1, 2], None, []]), 'struct': pa.array([{'a': 1, 'b': ['x']}, None, {'a': None, 'b': []}]),
              'map': pa.array([[('k', 1)], None, []], pa.map_(pa.string(), pa.int64()))})
pq.write_table(t, d + 'p.parquet', row_group_size=2)
with pa.ipc.new_file(d + 'p.arrow', t.schema) as w: w.write_table(t)
with pa.ipc.new_stream(d + 'p.arrows', t.schema) as w: w.write_table(t)
)");
  const std::string expected =
      "{\"i8\":1,\"u64\":0,\"f32\":0.1,\"dict\":\"a\",\"large\":\"x\",\"view\":\"v\",\"ts\":\"1970-01-01T00:00:00Z\","
      "\"day\":\"2024-02-29\","
      "\"dec\":\"1.50\",\"list\":[1,2],\"struct\":{\"a\":1,\"b\":[\"x\"]},\"map\":[[\"k\",1]]}\n"
      "{\"i8\":null,\"u64\":18446744073709551615,\"f32\":null,\"dict\":\"b\",\"large\":null,\"view\":\"w\",\"ts\":"
      "\"2017-07-14T02:40:00.123456789Z\","
      "\"day\":null,\"dec\":null,\"list\":null,\"struct\":null,\"map\":null}\n"
      "{\"i8\":-3,\"u64\":null,\"f32\":-2.5,\"dict\":\"a\",\"large\":\"\",\"view\":null,\"ts\":null,\"day\":\"1900-01-"
      "01\",\"dec\":\"-0.01\","
      "\"list\":[],\"struct\":{\"a\":null,\"b\":[]},\"map\":[]}\n";
  for (const char* name : {"p.parquet", "p.arrow", "p.arrows"}) {
    Dataset::read(path(name)).write_file(path("out.jsonl"), "jsonl");
    EXPECT_EQ(read_file(path("out.jsonl")), expected) << name;
  }
}

}  // namespace
}  // namespace mobula::data
