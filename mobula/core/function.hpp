/// Functions that run remotely: their names, found without a macro, and how a worker process calls them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <vector>

#include "mobula/core/errors.hpp"
#include "mobula/core/object.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {

/// Where the arguments of a task that leaves the process go.
class ArgumentWriter {
 public:
  virtual ~ArgumentWriter() = default;
  /// Adds a ready object that the task takes as an argument.
  virtual void reference(Object& object) = 0;
  /// Keeps something until the task has ended.
  virtual void keep(std::shared_ptr<const void> /*kept*/) {}
  WireWriter out;
  std::uint64_t id = 0;  ///< by which workers know the call; 0: they don't
};

/// Where they come from on the other side.
class ArgumentReader {
 public:
  explicit ArgumentReader(std::string_view bytes) : in(bytes) {}
  virtual ~ArgumentReader() = default;
  /// Returns the bytes of the next object among the arguments.
  virtual std::shared_ptr<const StoredBytes> reference() = 0;
  /// Told when all arguments have been read, before the function is called.
  virtual void finished() {}
  WireReader in;
};

class Task;
struct RelayedCall;

/// What is known of a function that can run remotely.
struct FunctionEntry {
  std::string key;      ///< names function and encoding, the same in every process of the program
  std::string name;     ///< for people
  const void* address;  ///< of the function; tells two of one name apart
  /// Decodes arguments, calls, encodes the result. `actor`: the object, for member functions; for an actor's
  /// constructor, receives it.
  void (*run_encoded)(ArgumentReader& arguments, WireWriter& result, void** actor);
  void (*destroy_actor)(void* actor) = nullptr;  ///< for constructors
  bool ends_actor = false;                       ///< destroys the object; no call comes after it
  /// Makes the task of a call that arrived as bytes, with two references.
  Task* (*relay)(Engine* engine, RelayedCall call) = nullptr;
};

/// Adds a function to the program's table when the program (or a library) is loaded.
class FunctionRegistration {
 public:
  explicit FunctionRegistration(FunctionEntry entry);
  const FunctionEntry& entry() const noexcept { return entry_; }

 private:
  FunctionEntry entry_;
};

/// Returns the function of that key, or null. Thread-safe.
const FunctionEntry* find_function(std::string_view key);
/// Throws Error(already_exists) where two different functions would go by one name, naming both.
void refuse_duplicate_functions();

namespace function {

/// Cuts the template argument out of a __PRETTY_FUNCTION__.
std::string argument_of(std::string_view pretty, std::string_view key);

template <auto F>
std::string name_of() {
  using Type = std::remove_const_t<decltype(F)>;
  if constexpr (std::is_class_v<Type>) {
    // Two lambdas of one function read the same in source; the mangled name counts them.
    return demangle(typeid(Type).name());
  } else {
    return argument_of(__PRETTY_FUNCTION__, "F = ");
  }
}

/// Returns where F lies, to tell two functions of one name apart.
template <auto F>
const void* address_of() {
  using Type = std::remove_const_t<decltype(F)>;
  if constexpr (std::is_class_v<Type>) {
    return &typeid(Type);
  } else {
    static_assert(sizeof(F) >= sizeof(void*));
    const void* address = nullptr;
    const auto copy = F;
    __builtin_memcpy(&address, &copy, sizeof address);
    return address;
  }
}

template <class T>
struct Traits : Traits<decltype(&T::operator())> {};
template <class R, class... P>
struct Traits<R (*)(P...)> {
  using Result = R;
  template <template <class...> class Template>
  using Apply = Template<P...>;
  using Pointer = R (*)(P...);
  static constexpr std::size_t kNumParameters = sizeof...(P);
};
template <class R, class... P>
struct Traits<R (*)(P...) noexcept> : Traits<R (*)(P...)> {};
template <class C, class R, class... P>
struct Traits<R (C::*)(P...)> : Traits<R (*)(P...)> {
  using Class = C;
};
template <class C, class R, class... P>
struct Traits<R (C::*)(P...) const> : Traits<R (C::*)(P...)> {};
template <class C, class R, class... P>
struct Traits<R (C::*)(P...) noexcept> : Traits<R (C::*)(P...)> {};
template <class C, class R, class... P>
struct Traits<R (C::*)(P...) const noexcept> : Traits<R (C::*)(P...)> {};

template <auto F>
using TraitsOf = Traits<std::remove_const_t<decltype(F)>>;

/// The result's type as it is kept: nothing is a value too.
struct Nothing {};
template <class R>
using Kept = std::conditional_t<std::is_void_v<R>, Nothing, R>;

template <class... P>
struct ParameterList {};

}  // namespace function
}  // namespace mobula
