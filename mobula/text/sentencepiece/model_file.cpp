#include "mobula/text/sentencepiece/model_file.hpp"

#include <fmt/format.h>

#include <cmath>
#include <unordered_set>

#include "mobula/base/error.hpp"
#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/sentencepiece/protobuf_reader.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

using File = SentencePieceFile;

constexpr std::size_t kMostPieces = std::size_t{1} << 24;

File::Piece read_piece(std::string_view message, std::string_view name) {
  File::Piece piece;
  ProtobufReader reader(message, name);
  while (reader.next()) {
    if (reader.field() == 1) piece.text = reader.bytes();
    if (reader.field() == 2) piece.score = reader.number();
    if (reader.field() == 3) {
      const std::uint64_t type = reader.integer();
      if (type < 1 || type > 6) reader.fail(fmt::format("a piece of unknown type {}", type));
      piece.type = static_cast<File::PieceType>(type);
    }
  }
  if (piece.text.empty() || !is_valid_utf8(piece.text)) reader.fail("a piece is empty or not UTF-8");
  if (!std::isfinite(piece.score)) reader.fail(fmt::format("the score of '{}' is not finite", piece.text));
  return piece;
}

File::Rules read_rules(std::string_view message, std::string_view name) {
  File::Rules rules;
  ProtobufReader reader(message, name);
  while (reader.next()) {
    if (reader.field() == 2) rules.precompiled_map = reader.bytes();
    if (reader.field() == 3) rules.add_dummy_prefix = reader.boolean();
    if (reader.field() == 4) rules.remove_extra_whitespaces = reader.boolean();
    if (reader.field() == 5) rules.escape_whitespaces = reader.boolean();
  }
  return rules;
}

void read_training(std::string_view message, std::string_view name, File& file) {
  ProtobufReader reader(message, name);
  while (reader.next()) {
    const auto id = [&] { return static_cast<TokenId>(static_cast<std::int32_t>(reader.integer())); };
    switch (reader.field()) {
      case 3: {
        const std::uint64_t algorithm = reader.integer();
        if (algorithm == 3 || algorithm == 4) {
          throw Error(ErrorCode::unsupported,
                      fmt::format("{}: a SentencePiece model of {}", name, algorithm == 3 ? "words" : "characters"),
                      "models of type unigram and bpe are read");
        }
        if (algorithm < 1 || algorithm > 2) reader.fail(fmt::format("model type {} is not known", algorithm));
        file.algorithm = static_cast<File::Algorithm>(algorithm);
        break;
      }
      case 24:
        file.treat_whitespace_as_suffix = reader.boolean();
        break;
      case 35:
        file.byte_fallback = reader.boolean();
        break;
      case 41:
        file.bos = id();
        break;
      case 42:
        file.eos = id();
        break;
      case 43:
        file.pad = id();
        break;
      case 44:
        file.unk_surface = reader.bytes();
        break;
      default:
        break;
    }
  }
}

}  // namespace

SentencePieceFile SentencePieceFile::parse(std::string_view bytes, std::string_view name) {
  File file;
  file.bos = 1;  // the format's defaults
  file.eos = 2;
  ProtobufReader reader(bytes, name);
  bool has_denormalizer = false;
  while (reader.next()) {
    if (reader.field() == 1) {
      if (file.pieces.size() == kMostPieces) reader.fail("more pieces than there can be ids");
      file.pieces.push_back(read_piece(reader.bytes(), name));
    } else if (reader.field() == 2) {
      read_training(reader.bytes(), name, file);
    } else if (reader.field() == 3) {
      file.normalizer = read_rules(reader.bytes(), name);
    } else if (reader.field() == 5) {
      file.denormalizer = read_rules(reader.bytes(), name);
      has_denormalizer = true;
    }
  }
  if (!has_denormalizer) file.denormalizer.precompiled_map.clear();
  if (file.pieces.empty()) reader.fail("no SentencePiece model: it holds no pieces");
  std::unordered_set<std::string_view> seen;
  std::size_t num_bytes = 0;
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    const Piece& piece = file.pieces[i];
    if (!seen.insert(piece.text).second) reader.fail(fmt::format("piece '{}' is there twice", piece.text));
    if (piece.type == PieceType::unknown) {
      if (file.unk >= 0) reader.fail("there are several unknown pieces");
      file.unk = static_cast<TokenId>(i);
    }
    if (piece.type == PieceType::byte) {
      if (!file.byte_fallback) reader.fail(fmt::format("piece '{}' is a byte, but byte_fallback is off", piece.text));
      if (ByteFallbackDecoder::named_byte(piece.text) < 0) reader.fail(fmt::format("'{}' names no byte", piece.text));
      ++num_bytes;
    }
  }
  if (file.unk < 0) reader.fail("there is no unknown piece");
  if (file.byte_fallback && num_bytes != 256)
    reader.fail(fmt::format("byte_fallback needs 256 bytes, {} are there", num_bytes));
  for (TokenId* id : {&file.bos, &file.eos, &file.pad}) {
    const bool exists = *id >= 0 && static_cast<std::size_t>(*id) < file.pieces.size() &&
                        file.pieces[static_cast<std::size_t>(*id)].type == PieceType::control;
    if (!exists) *id = -1;
  }
  return file;
}

}  // namespace mobula::text
