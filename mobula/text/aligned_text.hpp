/// A text that is being rewritten, and where each of its bytes came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::text {

/// A range of bytes [begin, end) of the input.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// Valid UTF-8 and, where offsets are wanted, the input range of every byte (else `origin` stays empty).
struct AlignedText {
  std::string text;
  std::vector<Span> origin;
  bool tracked = false;
  bool continues = false;  ///< the second part of a text that was cut: nothing is put before it
};

/// Replaces an AlignedText character by character, from left to right. Which input a new character gets
/// follows the rule of Hugging Face's NormalizedString: `change` 0 replaces the next old character, -n
/// replaces it and drops the n behind it, a positive one inserts a character that shares its place with the
/// one before.
class Rewrite {
 public:
  /// Starts over; the first `skipped` old characters are dropped.
  explicit Rewrite(AlignedText& target, std::size_t skipped = 0);

  /// Writes one character.
  void put(char32_t code_point, int change);
  /// Writes bytes that are inserted (change 1).
  void insert(std::string_view bytes);
  /// Keeps the next `bytes` bytes (whole characters) of the old text as they are.
  void keep(std::size_t bytes);
  /// Drops the next `bytes` bytes (whole characters) of the old text.
  void drop(std::size_t bytes) { old_ += bytes; }
  /// Puts the new text in place of the old one.
  void commit();

 private:
  void align(std::size_t bytes, Span span);
  void skip(std::size_t characters);

  AlignedText& target_;
  std::string text_;
  std::vector<Span> origin_;
  std::size_t old_ = 0;
};

}  // namespace mobula::text
