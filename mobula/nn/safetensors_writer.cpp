#include "mobula/nn/safetensors_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/nn/safetensors.hpp"

namespace mobula::nn {
namespace {

constexpr std::uint64_t kAlignment = 64;

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  // Wide types first keep every tensor aligned to its type, as the reference implementation does.
  std::sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    const auto key = [](const NamedTensor* t) {
      return std::pair(-static_cast<std::int64_t>(t->tensor.element_size()), std::string_view(t->name));
    };
    return key(a) < key(b);
  });
  std::string header = "{";
  if (!metadata.empty()) header += "\"__metadata__\":" + to_line(Json(metadata));
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const NamedTensor& item = *order[i];
    if (i > 0 && order[i - 1]->name == item.name)
      throw_invalid(fmt::format("{}: tensor '{}' given twice", path.string(), item.name));
    const std::uint64_t bytes = static_cast<std::uint64_t>(item.tensor.numel()) * item.tensor.element_size();
    if (header.size() > 1) header += ',';
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", to_line(Json(item.name)),
                          safetensors_type(item.tensor.scalar_type()), fmt::join(item.tensor.sizes(), ","), offset,
                          offset + bytes);
    offset += bytes;
  }
  header += '}';
  header.append((kAlignment - (header.size() + 8) % kAlignment) % kAlignment, ' ');
  const std::uint64_t header_size = header.size();
  AtomicFile file(path);
  file.write({reinterpret_cast<const char*>(&header_size), 8});
  file.write(header);
  for (const NamedTensor* item : order) {
    const at::Tensor contiguous = item->tensor.contiguous();
    file.write({static_cast<const char*>(contiguous.const_data_ptr()),
                static_cast<std::size_t>(contiguous.numel()) * contiguous.element_size()});
  }
  file.commit();
}

}  // namespace mobula::nn
