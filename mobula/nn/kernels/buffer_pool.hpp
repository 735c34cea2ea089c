/// Memory for activations and gradients that is used again in the next step: a training step asks for the same
/// sizes every time, and fresh pages cost more than what is computed in them.
#pragma once

#include <cstddef>
#include <memory>

namespace mobula::nn::kernels {

/// A block of at least the bytes asked for, aligned to 64; its content is unspecified. Goes back to the pool with
/// the last owner. Thread-safe.
std::shared_ptr<std::byte> take_buffer(std::size_t bytes);

/// Returns the bytes the pool holds for later use. What lies idle never exceeds what was in use together at
/// most since the last trim.
std::size_t idle_buffer_bytes();
/// Gives all idle memory back to the system.
void trim_buffers();

}  // namespace mobula::nn::kernels
