#include "mobula/core/generator.hpp"

#include <fmt/format.h>

#include "mobula/base/size.hpp"
#include "mobula/core/engine.hpp"
#include "mobula/core/errors.hpp"

namespace mobula::generator {
namespace {

constexpr const char* kEndOfStream = "mobula::generator::EndOfStream";

bool ends_stream(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const TaskError& failure) {
    return failure.type() == kEndOfStream;
  } catch (...) {
    return false;
  }
}

}  // namespace

Requests::Requests(ActorCore* actor, Request request, std::size_t buffer)
    : actor_(actor), request_(request), buffer_(buffer == 0 ? 1 : buffer) {
  fill();
}

Requests::~Requests() {
  end();
}

void Requests::fill() {
  while (window_.size() < buffer_) {
    Task* call = request_(actor_, next_index_++);
    window_.push_back(call);
    call_host(actor_, call);
  }
}

Object* Requests::next(std::chrono::nanoseconds timeout) {
  if (actor_ == nullptr) return nullptr;
  Task* call = window_.front();
  if (!call->ready() && !wait_ready(*call, timeout)) {
    throw TimeoutError(fmt::format("{} was not there within {}", call->display_name(), format_duration(timeout)),
                       "call next() again, or cancel() the stream");
  }
  if (call->error() != nullptr && ends_stream(call->error())) {
    end();
    return nullptr;
  }
  window_.pop_front();
  if (call->error() != nullptr) {
    end();
  } else {
    fill();
  }
  return call;
}

void Requests::cancel(Cancel how) {
  if (actor_ == nullptr) return;
  if (how == Cancel::forced && !window_.front()->ready()) actor_->engine()->cancel(window_.front(), how);
  end();
}

void Requests::end() noexcept {
  if (actor_ == nullptr) return;
  // The newest first: none of them gets to run because another was taken away before it.
  for (auto call = window_.rbegin(); call != window_.rend(); ++call) {
    try {
      if (!(*call)->ready()) actor_->engine()->cancel(*call, Cancel::cooperative);
    } catch (const std::exception&) {
      // It ends by itself.
    }
    (*call)->release();
  }
  window_.clear();
  std::exchange(actor_, nullptr)->release();
}

ActorCore* make_host(Engine* engine, const TaskOptions& options, const std::string& title) {
  ActorOptions host;
  host.gpus = options.gpus;
  host.memory = options.memory;
  host.resources = options.resources;
  host.labels = options.labels;
  host.placement = options.placement;
  host.isolation = options.isolation;
  host.max_restarts = options.retries;
  host.max_task_retries = options.retries;
  host.environment = options.environment;
  ActorCore* actor = engine->create_actor(std::move(host));
  actor->set_title(options.name.empty() ? title : options.name);
  return actor;
}

void call_host(ActorCore* host, Task* call) {
  host->engine()->call(host, call);
}

}  // namespace mobula::generator
