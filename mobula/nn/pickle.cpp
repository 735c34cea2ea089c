#include "mobula/nn/pickle.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <unordered_map>

#include "mobula/base/error.hpp"

namespace mobula::nn {
namespace {

using Kind = PickleValue::Kind;

// Each operation takes at least a byte and makes at most one value, so the number of values needs no other bound. Copies
// could grow faster: a call copies its arguments' ids, of which it can have at most this many.
constexpr std::size_t kMaxArguments = 64;
constexpr std::size_t kMaxValues = 5'000'000;

class Interpreter {
 public:
  Interpreter(std::span<const std::byte> bytes, std::string_view name, MayCall may_call)
      : bytes_(bytes), name_(name), may_call_(may_call) {}

  Pickle run() {
    while (step(static_cast<unsigned char>(number<std::uint8_t>()))) {
    }
    pickle_.root = pop();
    if (!stack_.empty() || !marks_.empty()) fail("values are left over at its end");
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: the pickle is damaged at byte {}: {}", name_, at_, what));
  }

  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size() - at_) fail(fmt::format("{} bytes are missing", size - (bytes_.size() - at_)));
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return text;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string line() {
    const std::size_t begin = at_;
    while (number<char>() != '\n') {
    }
    return {reinterpret_cast<const char*>(bytes_.data()) + begin, at_ - begin - 1};
  }

  void push(PickleValue value) {
    if (pickle_.values.size() >= kMaxValues) fail("too many values");
    pickle_.values.push_back(std::move(value));
    stack_.push_back(static_cast<PickleId>(pickle_.values.size() - 1));
  }
  void push_text(std::string_view text, Kind kind = Kind::text) { push({.kind = kind, .text = std::string(text)}); }
  void push_integer(std::int64_t value) { push({.kind = Kind::integer, .integer = value}); }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleId pop() {
    if (stack_.size() <= floor()) fail("the stack is empty");
    const PickleId id = stack_.back();
    stack_.pop_back();
    return id;
  }
  PickleId top() const {
    if (stack_.size() <= floor()) fail("the stack is empty");
    return stack_.back();
  }
  std::vector<PickleId> pop_to_mark() {
    if (marks_.empty()) fail("a mark is missing");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleId> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<PickleId> pop_many(std::size_t count) {
    std::vector<PickleId> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }

  void push_name(const std::string& module, const std::string& attribute) {
    const std::string full = module + "." + attribute;
    if (!may_call_(full)) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: the file asks Python to use '{}', which is no part of a table of tensors", name_,
                              full.substr(0, 200)),
                  "save the state dict alone, or write safetensors");
    }
    push_text(full, Kind::name);
  }
  void extend(PickleId target, const std::vector<PickleId>& items, Kind kind) {
    PickleValue& value = pickle_.values[target];
    // An OrderedDict is what a call of its name gives.
    const bool ordered =
        kind == Kind::dictionary && value.kind == Kind::call && value.text == "collections.OrderedDict";
    if (ordered && value.items.empty()) value.kind = Kind::dictionary;
    if (value.kind != kind) fail("items are added to what holds none");
    if (kind == Kind::dictionary && items.size() % 2 != 0) fail("a key without a value");
    value.items.insert(value.items.end(), items.begin(), items.end());
  }
  void call() {
    const PickleId arguments = pop(), function = pop();
    const PickleValue& tuple = pickle_[arguments];
    if (pickle_[function].kind != Kind::name) fail("what is called is no name");
    if (tuple.kind != Kind::tuple || tuple.items.size() > kMaxArguments) fail("bad arguments of a call");
    push({.kind = Kind::call, .text = pickle_[function].text, .items = tuple.items});
  }
  void remember(std::uint64_t key, PickleId id) { memo_[key] = id; }
  void recall(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail(fmt::format("nothing was remembered under {}", key));
    stack_.push_back(found->second);
  }
  void push_long(std::string_view digits) {
    if (digits.size() > 8) fail("an integer of more than 64 bits");
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) {
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(digits[i])) << (8 * i);
    }
    const std::size_t bits = 8 * digits.size();
    if (bits > 0 && bits < 64 && (value >> (bits - 1) & 1) != 0) value |= ~std::uint64_t{0} << bits;
    push_integer(static_cast<std::int64_t>(value));
  }

  // Runs one operation; returns false after the last.
  bool step(unsigned char operation);

  std::span<const std::byte> bytes_;
  std::string_view name_;
  MayCall may_call_;
  std::size_t at_ = 0;
  Pickle pickle_;
  std::vector<PickleId> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleId> memo_;
};

bool Interpreter::step(unsigned char operation) {
  switch (operation) {
    case 0x80:  // PROTO
      if (const auto protocol = number<std::uint8_t>(); protocol > 5) fail(fmt::format("protocol {}", protocol));
      break;
    case 0x95:  // FRAME
      number<std::uint64_t>();
      break;
    case '.':
      return false;
    case '(':
      marks_.push_back(stack_.size());
      break;
    case '0':
      pop();
      break;
    case '1':
      pop_to_mark();
      break;
    case 'N':
      push({});
      break;
    case 0x88:
    case 0x89:
      push({.kind = Kind::boolean, .integer = operation == 0x88});
      break;
    case 'J':
      push_integer(number<std::int32_t>());
      break;
    case 'K':
      push_integer(number<std::uint8_t>());
      break;
    case 'M':
      push_integer(number<std::uint16_t>());
      break;
    case 0x8a:  // LONG1
      push_long(take(number<std::uint8_t>()));
      break;
    case 'G': {  // big-endian
      push({.kind = Kind::real, .real = std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>()))});
      break;
    }
    case 'X':
      push_text(take(number<std::uint32_t>()));
      break;
    case 0x8c:  // SHORT_BINUNICODE
    case 'U':   // SHORT_BINSTRING
      push_text(take(number<std::uint8_t>()));
      break;
    case 0x8d:  // BINUNICODE8
      push_text(take(number<std::uint64_t>()));
      break;
    case 'C':
      push_text(take(number<std::uint8_t>()), Kind::bytes);
      break;
    case 'B':
      push_text(take(number<std::uint32_t>()), Kind::bytes);
      break;
    case ')':
      push({.kind = Kind::tuple});
      break;
    case 't':
      push({.kind = Kind::tuple, .items = pop_to_mark()});
      break;
    case 0x85:
    case 0x86:
    case 0x87:  // TUPLE1 to TUPLE3
      push({.kind = Kind::tuple, .items = pop_many(operation - 0x84u)});
      break;
    case ']':
      push({.kind = Kind::list});
      break;
    case 'l':
      push({.kind = Kind::list, .items = pop_to_mark()});
      break;
    case 'a': {
      const PickleId item = pop();
      extend(top(), {item}, Kind::list);
      break;
    }
    case 'e': {
      const std::vector<PickleId> items = pop_to_mark();
      extend(top(), items, Kind::list);
      break;
    }
    case '}':
      push({.kind = Kind::dictionary});
      break;
    case 's': {
      const PickleId value = pop(), key = pop();
      extend(top(), {key, value}, Kind::dictionary);
      break;
    }
    case 'u': {
      const std::vector<PickleId> items = pop_to_mark();
      extend(top(), items, Kind::dictionary);
      break;
    }
    case 'c': {
      const std::string module = line();
      push_name(module, line());
      break;
    }
    case 0x93: {  // STACK_GLOBAL
      const PickleId attribute = pop(), module = pop();
      if (pickle_[attribute].kind != Kind::text || pickle_[module].kind != Kind::text) fail("a name that is no text");
      push_name(pickle_[module].text, pickle_[attribute].text);
      break;
    }
    case 'R':
      call();
      break;
    case 'b':  // BUILD: attributes of an object, which tensors and tables have no use for
      pop();
      top();
      break;
    case 'Q': {
      const PickleId inner = pop();
      push({.kind = Kind::persistent, .items = {inner}});
      break;
    }
    case 'q':
      remember(number<std::uint8_t>(), top());
      break;
    case 'r':
      remember(number<std::uint32_t>(), top());
      break;
    case 0x94:  // MEMOIZE
      remember(memo_.size(), top());
      break;
    case 'h':
      recall(number<std::uint8_t>());
      break;
    case 'j':
      recall(number<std::uint32_t>());
      break;
    default:
      throw Error(ErrorCode::unsupported, fmt::format("{}: the pickle holds the operation 0x{:02x}, which no table of "
                                                      "tensors needs",
                                                      name_, operation));
  }
  return true;
}

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes, std::string_view name, MayCall may_call) {
  return Interpreter(bytes, name, may_call).run();
}

}  // namespace mobula::nn
