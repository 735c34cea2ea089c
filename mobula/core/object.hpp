/// A value that is there or will be: what a Ref points at. Counted, completed once, waited for by threads and tasks.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace mobula {

class Engine;
class HandleReader;
class Object;
class Task;
class WireWriter;
class WireReader;

/// Somebody to tell when an object is complete. Lives in what waits; linked into the object meanwhile.
struct Waiter {
  Waiter* next = nullptr;
  union {
    void (*notify)(Waiter* self) = nullptr;
    /// While it waits in an actor's inbox: where a call sent a few calls earlier was. Only for the cache to fetch ahead; what
    /// is there may be gone.
    const void* sent_before;
  };
};

/// Bytes that stay where they are for as long as this, or a copy, lives.
class PinnedBytes {
 public:
  PinnedBytes() = default;
  /// `handles`: who finds the handles in them, kept by `keeper`; null: whoever does in this process.
  PinnedBytes(std::string_view bytes, std::shared_ptr<const void> keeper, HandleReader* handles = nullptr) noexcept
      : bytes_(bytes), keeper_(std::move(keeper)), handles_(handles) {}
  std::string_view bytes() const noexcept { return bytes_; }
  HandleReader* handles() const noexcept { return handles_; }
  const std::shared_ptr<const void>& keeper() const noexcept { return keeper_; }

 private:
  std::string_view bytes_;
  std::shared_ptr<const void> keeper_;
  HandleReader* handles_ = nullptr;
};

/// Encoded bytes of a value that live outside this process's heap: in shared memory, or spilled to disk.
class StoredBytes {
 public:
  StoredBytes() = default;
  StoredBytes(const StoredBytes&) = delete;
  StoredBytes& operator=(const StoredBytes&) = delete;
  virtual ~StoredBytes() = default;
  /// Returns the bytes in memory, read back from disk where they were spilled. Thread-safe.
  /// Throws OutOfMemoryError where there is no room for them, ObjectLostError where the disk has lost them.
  virtual PinnedBytes pin() const = 0;
  virtual std::size_t size() const noexcept = 0;
};

/// Encoded bytes on this process's heap.
class HeapBytes final : public StoredBytes {
 public:
  /// `keeper` keeps what handles in the bytes stand for; may be null.
  explicit HeapBytes(std::string bytes, std::shared_ptr<const void> keeper = nullptr)
      : bytes_(std::make_shared<const std::string>(std::move(bytes))), keeper_(std::move(keeper)) {}
  PinnedBytes pin() const override { return {*bytes_, bytes_}; }
  std::size_t size() const noexcept override { return bytes_->size(); }

 private:
  std::shared_ptr<const std::string> bytes_;
  std::shared_ptr<const void> keeper_;
};

/// Counts the runtimes this process has had, so that a Ref of an earlier one is told from one of the present.
inline std::atomic<std::uint16_t> runtime_generation{0};

/// Told, in a worker process, of the end of an object that set_numbered() was called for.
inline std::atomic<void (*)(Object* object)> handle_forgetter{nullptr};

/// Base of every value the engines handle. References are counted by hand: engines count in bulk.
class Object {
 public:
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    // The last holder needs no atomic write: nobody else can be counting, but for who finds it by its number.
    if ((references_.load(std::memory_order_acquire) == 1 && !numbered()) ||
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      destroy();
    }
  }
  /// Counts one more reference, unless the last one is gone.
  bool try_retain() noexcept {
    std::uint32_t seen = references_.load(std::memory_order_relaxed);
    while (seen != 0) {
      if (references_.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  /// As release(); calls `before_end` first where it destroys the object.
  template <class F>
  void release(const F& before_end) noexcept {
    if ((references_.load(std::memory_order_acquire) == 1 && !numbered()) ||
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      before_end();
      destroy();
    }
  }
  /// Notes that other processes know the object by a number: its end is told to handle_forgetter.
  void set_numbered() noexcept { status_.fetch_or(kNumbered, std::memory_order_relaxed); }
  bool numbered() const noexcept { return (status_.load(std::memory_order_relaxed) & kNumbered) != 0; }
  bool unique() const noexcept { return references_.load(std::memory_order_acquire) == 1; }

  /// Tells whether the value, or an error in its place, is there.
  bool ready() const noexcept { return state_.load(std::memory_order_acquire) == kReady; }
  /// Returns the error of a ready object, or null.
  const std::exception_ptr& error() const noexcept { return error_; }
  /// Tells whether the engine must be asked for the value (Engine::wait): it does not become ready by itself.
  bool polled() const noexcept { return (status_.load(std::memory_order_acquire) & kPolled) != 0; }
  void set_polled() noexcept { status_.fetch_or(kPolled, std::memory_order_release); }
  /// Tells whether somebody is to be told when the object is complete.
  bool has_waiters() const noexcept { return (state_.load(std::memory_order_acquire) & ~(kReady | kLocked)) != 0; }
  Engine* engine() const noexcept { return engine_; }
  /// Returns runtime_generation as it was when the object was made.
  std::uint16_t generation() const noexcept { return generation_; }

  /// Returns the value of a ready object without error, decoding it first where it arrived as bytes.
  void* value() {
    if (stored_.load(std::memory_order_acquire) != nullptr) [[unlikely]]
      decode_stored();
    return address();
  }
  /// Returns the bytes the value arrived as, or null where it never left the process.
  std::shared_ptr<const StoredBytes> stored() const;
  /// Returns them only where the value has not been made of them yet.
  std::shared_ptr<const StoredBytes> undecoded() const;
  /// Appends the value of a ready object without error.
  virtual void encode_value(WireWriter& out) = 0;
  /// Returns the type of the value, as it reads in source.
  virtual const char* type_name() const noexcept = 0;
  /// Returns the task whose result this is, or null.
  virtual Task* task() noexcept { return nullptr; }

  /// Marks the object complete with a value that is in place. Exactly one of the two complete functions is called, once.
  void complete() noexcept;
  /// The same where nobody but the caller holds the object: there is nobody to tell.
  void complete_unshared() noexcept;
  void complete_with(std::exception_ptr error) noexcept;
  /// Of a ready object with an error: keeps a value that came after it, to destroy it in time.
  void keep_late_value() noexcept {
    if (stored_.load(std::memory_order_relaxed) == nullptr) set_holds_value();
  }
  /// Puts a value that arrived as bytes in place, before complete(): decoded at once, or, of `stored` bytes, when somebody
  /// asks for it.
  void take_bytes(std::string_view bytes);
  void take_stored(std::shared_ptr<const StoredBytes> stored);
  /// Gives a ready object another home for its value's bytes; its typed value, where there is one, stays.
  void attach_stored(std::shared_ptr<const StoredBytes> stored);

  /// Arranges for `waiter` to be told; returns false where the object is ready already (it is not told then).
  bool add_waiter(Waiter& waiter) noexcept;
  /// Takes `waiter` back; returns false where it has been told, or is about to be.
  bool remove_waiter(Waiter& waiter) noexcept;

 protected:
  Object(Engine* engine, std::uint32_t references) noexcept : references_(references), engine_(engine) {}
  virtual ~Object();
  /// Destroys the object and frees its memory.
  virtual void destroy() noexcept = 0;
  /// Returns where the value is, or will be.
  virtual void* address() noexcept = 0;
  /// Makes the value from bytes.
  virtual void decode_value(WireReader& in) = 0;

  bool holds_value() const noexcept { return holds_value_; }
  void set_holds_value() noexcept { holds_value_ = true; }

 private:
  static constexpr std::uint8_t kPolled = 128;   ///< in status_, beside Task's
  static constexpr std::uint8_t kNumbered = 64;  ///< in status_
  static constexpr std::uintptr_t kReady = 1;
  static constexpr std::uintptr_t kLocked = 2;

  void decode_stored();
  void publish() noexcept;

  std::atomic<std::uint32_t> references_;
  const std::uint16_t generation_ = runtime_generation.load(std::memory_order_relaxed);
  bool holds_value_ = false;  ///< the typed value exists

 protected:
  std::atomic<std::uint8_t> status_{0};  ///< for tasks: see Task

 private:
  /// 0: pending; kReady; else the first Waiter, with kLocked while the list is being changed.
  std::atomic<std::uintptr_t> state_{0};
  std::exception_ptr error_;
  struct Stored;
  std::atomic<Stored*> stored_{nullptr};
  Engine* engine_;
};

}  // namespace mobula
