/// A call that arrived as bytes: a worker process asked for it, the main process has it run like any other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/core/function.hpp"
#include "mobula/core/task.hpp"

namespace mobula {

/// The encoded arguments of a call.
struct RelayedCall {
  /// An argument that is an object: it stands between the bytes.
  struct Reference {
    std::size_t position;  ///< in `bytes`
    Object* object;        ///< counted
  };
  const FunctionEntry* entry = nullptr;
  std::string bytes;
  std::vector<Reference> references;
  std::shared_ptr<const void> handles;  ///< keeps what the handles in `bytes` stand for
  std::string caller;                   ///< who asked for it, and by whom that was called
  ActorCore* actor = nullptr;           ///< borrowed
  std::uint64_t id = 0;                 ///< by which workers know the call

  RelayedCall() = default;
  RelayedCall(RelayedCall&&) = default;
  RelayedCall& operator=(RelayedCall&&) = default;
  ~RelayedCall() { drop(); }
  /// Lets go of the arguments.
  void drop() noexcept;
  Object* unready(std::exception_ptr& failure) const;
  void write(ArgumentWriter& writer) const;
  /// Runs the call in this process; appends its encoded result.
  void run(WireWriter& result) const;
};

template <class Result>
class RelayedTask final : public task::ResultTask<Result> {
 public:
  /// Makes the task with two references: the engine's, and one for who keeps the result.
  static Task* make(Engine* engine, RelayedCall call) { return new RelayedTask(engine, std::move(call)); }

  const FunctionEntry& function() const noexcept override { return *call_.entry; }
  ActorCore* actor() const noexcept override { return call_.actor; }
  void invoke(bool keep) override {
    WireWriter result;
    call_.run(result);
    if (!keep) call_.drop();
    this->take_bytes(result.bytes());
  }
  Object* unready_dependency(std::exception_ptr& failure) override { return call_.unready(failure); }
  void drop_arguments() noexcept override { call_.drop(); }
  void encode_arguments(ArgumentWriter& writer) override { call_.write(writer); }

 private:
  RelayedTask(Engine* engine, RelayedCall call) : task::ResultTask<Result>(engine, 2), call_(std::move(call)) {
    this->caller = call_.caller.c_str();
  }
  ~RelayedTask() override = default;
  void destroy() noexcept override { delete this; }

  RelayedCall call_;
};

template <class Result>
Task* task::relay_call(Engine* engine, RelayedCall call) {
  return RelayedTask<Result>::make(engine, std::move(call));
}

}  // namespace mobula
