/// An object that no task of this process makes: a value that was put, or one that another process has.
#pragma once

#include <memory>
#include <new>
#include <typeinfo>
#include <utility>

#include "mobula/core/block_pool.hpp"
#include "mobula/core/codec.hpp"
#include "mobula/core/object.hpp"

namespace mobula {

template <class T>
class ValueObject final : public Object {
 public:
  /// Makes an object that will be completed later.
  explicit ValueObject(Engine* engine) : Object(engine, 1) {}
  template <class V>
  ValueObject(Engine* engine, std::in_place_t, V&& value) : Object(engine, 1) {
    new (&value_) T(std::forward<V>(value));
    complete();
  }
  ValueObject(Engine* engine, std::shared_ptr<const StoredBytes> stored) : Object(engine, 1) {
    take_stored(std::move(stored));
    complete();
  }
  static Object* make(Engine* engine) { return new ValueObject(engine); }

  void encode_value(WireWriter& out) override { codec::encode(out, *static_cast<const T*>(value())); }
  const char* type_name() const noexcept override { return typeid(T).name(); }
  static void* operator new(std::size_t size) { return allocate_block(size); }
  static void operator delete(void* memory, std::size_t size) { free_block(memory, size); }

 private:
  ~ValueObject() override {
    if (holds_value()) value_.~T();
  }
  void destroy() noexcept override { delete this; }
  void* address() noexcept override { return &value_; }
  void decode_value(WireReader& in) override { new (&value_) T(codec::decode<T>(in)); }

  union {
    T value_;
  };
};

}  // namespace mobula
