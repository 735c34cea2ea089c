#include "mobula/text/regex/regex.hpp"

#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mobula/base/error.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kMaxPattern = 1 << 16;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

Stretch stretch(std::size_t begin, std::size_t end, bool matched) {
  return {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), matched};
}

/// What matching works in; one a thread, because making it takes longer than matching a line.
struct MatchState {
  MatchState()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 * 1024, 1024 * 1024, nullptr)) {
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

}  // namespace

struct Regex::Code {
  std::string name;
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Regex Regex::compile(std::string_view pattern, std::string_view name) {
  if (pattern.size() > kMaxPattern) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: a pattern of {} bytes is refused", name, pattern.size()));
  }
  std::string translated;
  try {
    translated = translate_pattern(pattern);
  } catch (const std::string& reason) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: '{}': {}", name, pattern, reason));
  }
  auto code = std::make_shared<Code>();
  code->name = name;
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code->code == nullptr) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: '{}': {}", name, pattern, pcre2_message(error)));
  }
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // where there is no JIT, matching is slower and as good
  Regex result;
  result.code_ = std::move(code);
  result.pattern_ = pattern;
  return result;
}

Regex Regex::literal(std::string_view text, std::string_view name) {
  if (text.empty()) return compile("", name);
  Regex result;
  result.literal_ = text;
  return result;
}

void Regex::find_all(std::string_view text, std::vector<Stretch>& out) const {
  std::size_t done = 0;
  const auto matched = [&](std::size_t begin, std::size_t end) {
    if (done < begin) out.push_back(stretch(done, begin, false));
    out.push_back(stretch(begin, end, true));
    done = end;
  };
  if (!literal_.empty()) {
    for (std::size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, at + literal_.size())) {
      matched(at, at + literal_.size());
    }
  } else {
    thread_local const MatchState match;
    const PCRE2_SIZE* place = pcre2_get_ovector_pointer(match.data);
    bool any = false;
    std::size_t last_end = 0;
    for (std::size_t at = 0; at <= text.size();) {
      const int found = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                    PCRE2_NO_UTF_CHECK, match.data, match.context);
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) {
        throw Error(ErrorCode::resource, fmt::format("{}: matching failed: {}", code_->name, pcre2_message(found)),
                    "simplify the pattern, or shorten the text");
      }
      const std::size_t begin = place[0];
      const std::size_t end = std::max(place[0], place[1]);
      if (begin == end && any && last_end == end) {
        // An empty match where the last one ended: look on behind the next character.
        at = end < text.size() ? end + utf8_length(text[end]) : end + 1;
        continue;
      }
      matched(begin, end);
      any = true;
      last_end = end;
      at = end;
    }
  }
  if (done < text.size()) out.push_back(stretch(done, text.size(), false));
}

}  // namespace mobula::text
