#include "mobula/nn/pytorch_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/pickle.hpp"
#include "mobula/nn/zip_archive.hpp"

namespace mobula::nn {
namespace {

using Kind = PickleValue::Kind;

constexpr std::size_t kMaxDimensions = 64;
constexpr int kMaxNesting = 4;

struct StorageType {
  std::string_view name, spelling;
  at::ScalarType type;
};
constexpr std::array<StorageType, 9> kStorages = {{
    {"torch.FloatStorage", "F32", at::kFloat},
    {"torch.DoubleStorage", "F64", at::kDouble},
    {"torch.HalfStorage", "F16", at::kHalf},
    {"torch.BFloat16Storage", "BF16", at::kBFloat16},
    {"torch.LongStorage", "I64", at::kLong},
    {"torch.IntStorage", "I32", at::kInt},
    {"torch.ShortStorage", "I16", at::kShort},
    {"torch.CharStorage", "I8", at::kChar},
    {"torch.ByteStorage", "U8", at::kByte},
}};
constexpr StorageType kBooleans = {"torch.BoolStorage", "BOOL", at::kBool};

const StorageType* find_storage(std::string_view name) {
  if (name == kBooleans.name) return &kBooleans;
  const auto found = std::ranges::find(kStorages, name, &StorageType::name);
  return found == kStorages.end() ? nullptr : &*found;
}

bool may_call(std::string_view name) {
  return name == "collections.OrderedDict" || name == "torch._utils._rebuild_tensor_v2" ||
         name == "torch._utils._rebuild_parameter" || name == "torch.Size" || find_storage(name) != nullptr;
}

// Reads what the pickle says of tensors and looks their storages up in the archive.
class TableReader {
 public:
  TableReader(const Pickle& pickle, const ZipArchive& archive, std::string folder, std::string file)
      : pickle_(pickle), archive_(archive), folder_(std::move(folder)), file_(std::move(file)) {}

  struct Found {
    TensorInfo info;
    const std::byte* data;
    std::uint64_t num_bytes;
    std::vector<std::int64_t> strides;
  };

  // Returns the table with the tensors: `id`, or what it holds under one of the usual keys.
  PickleId find_table(PickleId id, int depth = 0) const {
    const PickleValue& value = pickle_[id];
    if (value.kind != Kind::dictionary) fail("holds no table of tensors");
    PickleId inner = id;
    for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
      if (is_tensor(value.items[i + 1])) return id;
      const PickleValue& key = pickle_[value.items[i]];
      const bool usual =
          key.kind == Kind::text && (key.text == "state_dict" || key.text == "model" || key.text == "module");
      if (usual && pickle_[value.items[i + 1]].kind == Kind::dictionary) inner = value.items[i + 1];
    }
    return inner == id || depth == kMaxNesting ? id : find_table(inner, depth + 1);
  }

  std::vector<Found> read(PickleId table) const {
    std::vector<Found> all;
    const std::vector<PickleId>& items = pickle_[table].items;
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (!is_tensor(items[i + 1])) continue;
      const PickleValue& key = pickle_[items[i]];
      if (key.kind != Kind::text) fail("has a tensor whose name is no text");
      all.push_back(read_tensor(key.text, items[i + 1]));
    }
    return all;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", file_, what));
  }

  bool is_tensor(PickleId id) const {
    const PickleValue& value = pickle_[id];
    return value.kind == Kind::call && value.text.starts_with("torch._utils._rebuild_");
  }

  std::vector<std::int64_t> integers(const std::string& name, PickleId id) const {
    const PickleValue* value = &pickle_[id];
    if (value->kind == Kind::call && value->text == "torch.Size" && value->items.size() == 1) {
      value = &pickle_[value->items[0]];
    }
    if (value->kind != Kind::tuple || value->items.size() > kMaxDimensions) {
      fail(fmt::format("tensor '{}' has a bad shape", name.substr(0, 200)));
    }
    std::vector<std::int64_t> numbers;
    for (const PickleId item : value->items) {
      const PickleValue& number = pickle_[item];
      if (number.kind != Kind::integer || number.integer < 0) {
        fail(fmt::format("tensor '{}' has a bad shape", name.substr(0, 200)));
      }
      numbers.push_back(number.integer);
    }
    return numbers;
  }

  Found read_tensor(const std::string& name, PickleId id) const {
    const auto bad = [&](std::string_view what) { fail(fmt::format("tensor '{}' {}", name.substr(0, 200), what)); };
    const PickleValue* call = &pickle_[id];
    for (int i = 0; call->text == "torch._utils._rebuild_parameter" && i < kMaxNesting; ++i) {
      if (call->items.empty() || !is_tensor(call->items[0])) bad("is a parameter without a tensor");
      call = &pickle_[call->items[0]];
    }
    // storage, offset, size, stride, requires_grad, hooks
    if (call->text != "torch._utils._rebuild_tensor_v2" || call->items.size() < 4) bad("is made in an unknown way");
    const PickleValue& storage = pickle_[call->items[0]];
    if (storage.kind != Kind::persistent) bad("has no storage");
    // "storage", type, key, device, number of elements
    const PickleValue& what = pickle_[storage.items[0]];
    if (what.kind != Kind::tuple || what.items.size() < 5) bad("has a bad storage");
    const StorageType* type = find_storage(pickle_[what.items[1]].text);
    if (pickle_[what.items[1]].kind != Kind::name || type == nullptr) bad("has a storage of unknown type");
    if (pickle_[what.items[2]].kind != Kind::text) bad("has a storage without a key");
    const std::span<const std::byte>* bytes = archive_.find(folder_ + "data/" + pickle_[what.items[2]].text);
    if (bytes == nullptr) bad("has a storage that is not in the archive");
    const PickleValue& offset = pickle_[call->items[1]];
    if (offset.kind != Kind::integer || offset.integer < 0) bad("begins before its storage");

    Found found;
    found.info = {.name = name, .stored_type = std::string(type->spelling), .type = type->type};
    found.info.shape = integers(name, call->items[2]);
    found.strides = integers(name, call->items[3]);
    if (found.info.shape.size() != found.strides.size()) bad("has another number of strides than dimensions");
    const std::uint64_t item = element_size(type->type);
    const std::uint64_t available = bytes->size() / item;
    std::uint64_t last = static_cast<std::uint64_t>(offset.integer), count = 1;
    bool fits = true;
    for (std::size_t d = 0; d < found.strides.size(); ++d) {
      const auto size = static_cast<std::uint64_t>(found.info.shape[d]);
      std::uint64_t reach = 0;
      fits &= !__builtin_mul_overflow(size > 0 ? size - 1 : 0, static_cast<std::uint64_t>(found.strides[d]), &reach);
      fits &= !__builtin_add_overflow(last, reach, &last);
      fits &= !__builtin_mul_overflow(count, std::max<std::uint64_t>(size, 1), &count) && count <= std::uint64_t{1}
                                                                                                       << 60;
    }
    const bool empty = std::ranges::find(found.info.shape, 0) != found.info.shape.end();
    // A stride of 0 repeats numbers; bounded by what is there, nobody can ask for more than the file holds.
    if (!fits || (!empty && (last >= available || count > available))) {
      bad(fmt::format("reaches beyond its storage of {} numbers", available));
    }
    found.info.num_bytes = empty ? 0 : count * item;
    found.data = empty ? bytes->data() : bytes->data() + static_cast<std::uint64_t>(offset.integer) * item;
    found.num_bytes = empty ? 0 : (last - static_cast<std::uint64_t>(offset.integer) + 1) * item;
    return found;
  }

  const Pickle& pickle_;
  const ZipArchive& archive_;
  std::string folder_, file_;
};

// Tells whether numbers of these strides lie as an array's do.
bool are_rows_in_order(const Shape& shape, const std::vector<std::int64_t>& strides) {
  std::int64_t expected = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

// Copies numbers that lie in another order.
Array gathered(const std::byte* data, const std::vector<std::int64_t>& strides, const TensorInfo& info) {
  const std::size_t item = element_size(info.type), dimensions = info.shape.size();
  std::int64_t count = 1;
  for (const std::int64_t size : info.shape) count *= size;
  std::vector<std::byte> numbers(static_cast<std::size_t>(count) * item);
  std::vector<std::int64_t> place(dimensions, 0);
  std::int64_t from = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(numbers.data() + static_cast<std::size_t>(i) * item, data + static_cast<std::size_t>(from) * item,
                item);
    for (std::size_t d = dimensions; d-- > 0;) {
      from += strides[d];
      if (++place[d] < info.shape[d]) break;
      from -= strides[d] * info.shape[d];
      place[d] = 0;
    }
  }
  return Array::copy_of(numbers.data(), info.shape, info.type);
}

}  // namespace

PytorchFile::PytorchFile(const std::filesystem::path& path)
    : path_(path), mapping_(std::make_shared<MappedFile>(path)) {
  const std::string name = path.string();
  const std::span<const std::byte> bytes = mapping_->bytes();
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "PK\3\4", 4) != 0) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: no zip archive, as torch.save writes since 1.6", name),
                "load and save it once with a newer torch, or convert it to safetensors");
  }
  const ZipArchive archive(bytes, name);
  std::string folder;
  const std::span<const std::byte>* table = nullptr;
  for (const auto& [file, content] : archive.files()) {
    const auto slash = file.find('/');
    if (slash == std::string::npos || file.substr(slash) != "/data.pkl") continue;
    if (table != nullptr) throw Error(ErrorCode::corrupt, fmt::format("{}: two files data.pkl", name));
    folder = file.substr(0, slash + 1);
    table = &content;
  }
  if (table == nullptr)
    throw Error(ErrorCode::corrupt, fmt::format("{}: no data.pkl: not written by torch.save?", name));
  if (const auto* order = archive.find(folder + "byteorder")) {
    const std::string_view text(reinterpret_cast<const char*>(order->data()), order->size());
    if (text != "little") {
      throw Error(ErrorCode::unsupported, fmt::format("{}: numbers in {} order", name, text.substr(0, 20)));
    }
  }
  const Pickle pickle = read_pickle(*table, name, may_call);
  const TableReader reader(pickle, archive, folder, name);
  for (TableReader::Found& found : reader.read(reader.find_table(pickle.root))) {
    infos_.push_back(std::move(found.info));
    places_.push_back({found.data, found.num_bytes, std::move(found.strides)});
  }
  for (std::size_t i = 0; i < infos_.size(); ++i) {
    if (!by_name_.emplace(infos_[i].name, i).second) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: tensor '{}' occurs twice", name, infos_[i].name.substr(0, 200)));
    }
  }
}

Array PytorchFile::tensor(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) throw_no_tensor(*this, name);
  const TensorInfo& info = infos_[found->second];
  const Place& place = places_[found->second];
  if (place.num_bytes == 0) return Array::empty(info.shape, info.type);
  if (!are_rows_in_order(info.shape, place.strides)) return gathered(place.data, place.strides, info);
  if (reinterpret_cast<std::uintptr_t>(place.data) % element_size(info.type) == 0) {
    return {place.data, info.shape, info.type, mapping_};
  }
  return Array::copy_of(place.data, info.shape, info.type);
}

}  // namespace mobula::nn
