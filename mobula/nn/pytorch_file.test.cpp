#include "mobula/nn/pytorch_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/nn/pickle.hpp"
#include "mobula/nn/zip_archive.hpp"

namespace mobula::nn {
namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Writes an archive of stored files.
std::string zip(const Files& files) {
  std::string out, directory;
  for (const auto& [name, content] : files) {
    const auto offset = static_cast<std::uint32_t>(out.size());
    const auto size = static_cast<std::uint32_t>(content.size());
    const std::string common = raw<std::uint16_t>(0) + raw<std::uint16_t>(0) + raw<std::uint32_t>(0) +
                               raw<std::uint32_t>(0) + raw(size) + raw(size) +
                               raw(static_cast<std::uint16_t>(name.size())) + raw<std::uint16_t>(0);
    out += "PK\3\4" + raw<std::uint16_t>(20) + common + name + content;
    directory += "PK\1\2" + raw<std::uint16_t>(20) + raw<std::uint16_t>(20) + common + raw<std::uint16_t>(0) +
                 raw<std::uint16_t>(0) + raw<std::uint16_t>(0) + raw<std::uint32_t>(0) + raw(offset) + name;
  }
  const auto start = static_cast<std::uint32_t>(out.size());
  const auto count = static_cast<std::uint16_t>(files.size());
  out += directory;
  out += "PK\5\6" + raw<std::uint32_t>(0) + raw(count) + raw(count) +
         raw(static_cast<std::uint32_t>(directory.size())) + raw(start) + raw<std::uint16_t>(0);
  return out;
}

// {"w": a float tensor of the given shape and strides, from `offset` of storage 0}.
struct Table {
  std::string storage = "FloatStorage", function = "_rebuild_tensor_v2", key = "0";
  int offset = 1, rows = 2, columns = 3, row_stride = 3, column_stride = 1;

  std::string pickle() const {
    const auto text = [](const std::string& s) { return "X" + raw(static_cast<std::uint32_t>(s.size())) + s; };
    const auto pair = [](int a, int b) { return "J" + raw(a) + "J" + raw(b) + "\x86"; };
    return "\x80\x02}" + text("w") + "ctorch._utils\n" + function + "\n((" + text("storage") + "ctorch\n" + storage +
           "\n" + text(key) + text("cpu") + "K\x09tQ" + "J" + raw(offset) + pair(rows, columns) +
           pair(row_stride, column_stride) + "\x89" + "}tRs.";
  }
};

std::string numbers() {
  std::string bytes;
  for (int i = 0; i < 9; ++i) bytes += raw(static_cast<float>(i));
  return bytes;
}

class PytorchFiles : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& content) const {
    write_file_atomic(folder_.path() / "x.bin", content);
    return folder_.path() / "x.bin";
  }
  std::filesystem::path write(const Table& table) const {
    return write(zip({{"archive/data.pkl", table.pickle()}, {"archive/data/0", numbers()}}));
  }
  template <class Content>
  std::string refusal(const Content& content) const {
    const std::string message = mobula::refusal([&] { PytorchFile file(write(content)); });
    if (message != "accepted") {
      EXPECT_NE(message.find("x.bin"), std::string::npos) << message;
    }
    return message;
  }

  TemporaryDirectory folder_;
};

TEST_F(PytorchFiles, GiveTensorsWithOffsetsAndStrides) {
  const PytorchFile file(write(Table{.row_stride = 1, .column_stride = 2}));
  ASSERT_EQ(file.tensors().size(), 1u);
  EXPECT_EQ(file.tensors()[0].stored_type, "F32");
  const Array array = file.tensor("w");
  EXPECT_EQ(array.sizes(), Shape({2, 3}));
  // Columns first in the file: 1, 2 is the first column.
  const std::vector<float> wanted = {1, 3, 5, 2, 4, 6};
  EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), array.const_data_ptr<float>()));
  EXPECT_THROW(file.tensor("v"), Error);
}

TEST_F(PytorchFiles, AreRefusedWhenTheyWantCodeToRun) {
  EXPECT_EQ(refusal(Table{}), "accepted");
  const auto with = [&](const std::string& pickle) {
    return refusal(zip({{"archive/data.pkl", pickle}, {"archive/data/0", numbers()}}));
  };
  EXPECT_NE(with("\x80\x02"
                 "cposix\nsystem\nX\x04\0\0\0true\x85R.")
                .find("posix.system"),
            std::string::npos);
  EXPECT_NE(with("\x80\x04\x8c\x08"
                 "builtins\x8c\x04"
                 "eval\x93.")
                .find("builtins.eval"),
            std::string::npos);
  EXPECT_NE(with("\x80\x02(i__main__\nEvil\n.").find("0x69"), std::string::npos);  // INST
  EXPECT_NE(with("\x80\x02]\x81.").find("0x81"), std::string::npos);               // NEWOBJ
  EXPECT_NE(refusal(Table{.storage = "EvilStorage"}).find("torch.EvilStorage"), std::string::npos);
  EXPECT_NE(refusal(Table{.function = "_rebuild_evil"}).find("_rebuild_evil"), std::string::npos);
}

TEST_F(PytorchFiles, AreRefusedWhenTensorsReachOutsideTheirStorage) {
  const std::string beyond = "reaches beyond its storage of 9 numbers";
  EXPECT_NE(refusal(Table{.offset = 4}).find(beyond), std::string::npos);
  EXPECT_NE(refusal(Table{.row_stride = 7}).find(beyond), std::string::npos);
  EXPECT_NE(refusal(Table{.rows = 2147483647, .columns = 2147483647, .row_stride = 2147483647}).find(beyond),
            std::string::npos);
  EXPECT_NE(refusal(Table{.rows = 2147483647, .row_stride = 0}).find(beyond), std::string::npos);
  EXPECT_NE(refusal(Table{.rows = -1}).find("bad shape"), std::string::npos);
  EXPECT_NE(refusal(Table{.offset = -1}).find("before its storage"), std::string::npos);
  EXPECT_NE(refusal(Table{.key = "7"}).find("not in the archive"), std::string::npos);
  EXPECT_EQ(refusal(Table{.offset = 100, .rows = 0}), "accepted");
}

TEST_F(PytorchFiles, AreRefusedWhenCutOffAnywhereOrFlippedWithoutACrash) {
  const std::string whole = zip({{"archive/data.pkl", Table{}.pickle()}, {"archive/data/0", numbers()}});
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_NE(refusal(whole.substr(0, size)), "accepted") << size;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const int bit : {0, 3, 7}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ 1 << bit);
      try {
        const PytorchFile file(write(changed));
        for (const TensorInfo& info : file.tensors()) {
          const Array array = file.tensor(info.name);
          EXPECT_EQ(array.sizes(), info.shape);
          if (array.is_floating_point()) (void)array.to(at::kDouble);
        }
      } catch (const Error&) {
      }
    }
  }
  EXPECT_NE(refusal(std::string("no archive")).find("since 1.6"), std::string::npos);
  EXPECT_NE(refusal(zip({{"archive/other", ""}})).find("data.pkl"), std::string::npos);
}

TEST(Pickle, ReadsNumbersOfAllWidths) {
  const auto read = [](const std::string& text) {
    return read_pickle(std::as_bytes(std::span(text)), "test", [](std::string_view) { return false; });
  };
  const Pickle pickle =
      read("(K\xffM\xff\xffJ" + raw(-5) + "\x8a\x02\xff\xff\x8a\x01\x7fG\x3f\xf8" + std::string(6, '\0') + "t.");
  const std::vector<PickleId>& items = pickle[pickle.root].items;
  ASSERT_EQ(items.size(), 6u);
  EXPECT_EQ(pickle[items[0]].integer, 255);
  EXPECT_EQ(pickle[items[1]].integer, 65535);
  EXPECT_EQ(pickle[items[2]].integer, -5);
  EXPECT_EQ(pickle[items[3]].integer, -1);
  EXPECT_EQ(pickle[items[4]].integer, 127);
  EXPECT_EQ(pickle[items[5]].real, 1.5);
  for (const char* bad :
       {"", ".", "t.", "(", "a.", "K", "h\1.", "]K\1s.", "}K\1K\2a.", "(K\1\x85.", "K\1K\1R.", "0."}) {
    EXPECT_THROW(read(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace mobula::nn
