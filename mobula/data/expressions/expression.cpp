#include "mobula/data/expressions/expression.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "mobula/base/error.hpp"
#include "mobula/data/sources/value_parsing.hpp"

namespace mobula::data {
namespace {

using Pointer = std::shared_ptr<const Expression>;

constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxLength = 64 << 10;

Pointer make_call(std::string name, std::vector<Pointer> arguments) {
  auto call = std::make_shared<Expression>();
  call->kind = Expression::Kind::call;
  call->name = std::move(name);
  call->arguments = std::move(arguments);
  return call;
}

Pointer make_literal(Expression::Literal value) {
  auto literal = std::make_shared<Expression>();
  literal->literal = std::move(value);
  return literal;
}

/// Recursive descent, one function a level of precedence.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) { advance(); }

  Pointer parse() {
    Pointer result = parse_or();
    if (token_ != Token::end) fail(fmt::format("'{}' is not expected here", spelling_));
    return result;
  }

 private:
  enum class Token { end, name, quoted_name, number, string, symbol };

  [[noreturn]] void fail(const std::string& message) const {
    throw_invalid(fmt::format("expression: {}\n  {}\n  {}^", message, text_, std::string(token_start_, ' ')),
                  "see the list of operators and functions in docs/data.md");
  }

  bool peek_keyword(std::string_view keyword) const { return token_ == Token::name && spelling_ == keyword; }
  bool take_keyword(std::string_view keyword) {
    if (!peek_keyword(keyword)) return false;
    advance();
    return true;
  }
  bool take_symbol(std::string_view symbol) {
    if (token_ != Token::symbol || spelling_ != symbol) return false;
    advance();
    return true;
  }
  void expect_symbol(std::string_view symbol) {
    if (!take_symbol(symbol)) fail(fmt::format("'{}' is expected", symbol));
  }

  void advance() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    token_start_ = at_;
    if (at_ == text_.size()) {
      token_ = Token::end;
      spelling_ = std::string("the end");
      return;
    }
    const char c = text_[at_];
    const auto word = [](char letter) {
      return std::isalnum(static_cast<unsigned char>(letter)) || letter == '_' || (letter & 0x80);
    };
    if (std::isdigit(static_cast<unsigned char>(c)) ||
        (c == '.' && at_ + 1 < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_ + 1])))) {
      token_ = Token::number;
      std::size_t end = at_;
      while (end < text_.size() &&
             (word(text_[end]) || text_[end] == '.' ||
              ((text_[end] == '+' || text_[end] == '-') && (text_[end - 1] == 'e' || text_[end - 1] == 'E')))) {
        ++end;
      }
      take_text(end);
    } else if (word(c)) {
      token_ = Token::name;
      std::size_t end = at_;
      while (end < text_.size() && word(text_[end])) ++end;
      take_text(end);
    } else if (c == '\'' || c == '"' || c == '`') {
      token_ = c == '`' ? Token::quoted_name : Token::string;
      spelling_.clear();
      ++at_;
      while (at_ < text_.size() && text_[at_] != c) {
        if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
          ++at_;
          spelling_ += text_[at_] == 'n' ? '\n' : text_[at_] == 't' ? '\t' : text_[at_];
        } else {
          spelling_ += text_[at_];
        }
        ++at_;
      }
      if (at_ == text_.size()) fail(fmt::format("a text that opens with {} is not closed", c));
      ++at_;
    } else {
      token_ = Token::symbol;
      const std::string_view two = text_.substr(at_, 2);
      const bool double_symbol = two == "==" || two == "!=" || two == "<=" || two == ">=" || two == "<>";
      take_text(at_ + (double_symbol ? 2 : 1));
    }
  }
  void take_text(std::size_t end) {
    spelling_ = text_.substr(at_, end - at_);
    at_ = end;
  }

  Pointer parse_or() {
    if (++depth_ > kMaxDepth) fail(fmt::format("more than {} levels", kMaxDepth));
    Pointer left = parse_and();
    while (take_keyword("or")) left = make_call("or", {left, parse_and()});
    --depth_;
    return left;
  }
  Pointer parse_and() {
    Pointer left = parse_not();
    while (take_keyword("and")) left = make_call("and", {left, parse_not()});
    return left;
  }
  Pointer parse_not() {
    int times = 0;
    while (take_keyword("not")) ++times;
    Pointer operand = parse_comparison();
    return times % 2 == 0 ? operand : make_call("not", {operand});
  }
  Pointer parse_comparison() {
    Pointer left = parse_sum();
    static constexpr std::pair<std::string_view, std::string_view> kComparisons[] = {
        {"==", "=="}, {"=", "=="}, {"!=", "!="}, {"<>", "!="}, {"<", "<"}, {"<=", "<="}, {">", ">"}, {">=", ">="}};
    if (token_ == Token::symbol) {
      for (const auto& [symbol, name] : kComparisons) {
        if (spelling_ == symbol) {
          advance();
          return make_call(std::string(name), {left, parse_sum()});
        }
      }
    }
    if (take_keyword("is")) {
      const bool negated = take_keyword("not");
      if (!take_keyword("null")) fail("'null' is expected after 'is'");
      Pointer test = make_call("is_null", {left});
      return negated ? make_call("not", {test}) : test;
    }
    const bool negated = peek_keyword("not");
    if (negated) advance();
    if (take_keyword("in")) {
      expect_symbol("(");
      Pointer any;
      do {
        Pointer equal = make_call("==", {left, parse_sum()});
        any = any == nullptr ? equal : make_call("or", {any, equal});
      } while (take_symbol(","));
      expect_symbol(")");
      return negated ? make_call("not", {any}) : any;
    }
    if (negated) fail("'in' is expected after 'not'");
    return left;
  }
  Pointer parse_sum() {
    Pointer left = parse_product();
    while (token_ == Token::symbol && (spelling_ == "+" || spelling_ == "-")) {
      std::string op = spelling_;
      advance();
      left = make_call(std::move(op), {left, parse_product()});
    }
    return left;
  }
  Pointer parse_product() {
    Pointer left = parse_unary();
    while (token_ == Token::symbol && (spelling_ == "*" || spelling_ == "/" || spelling_ == "%")) {
      std::string op = spelling_;
      advance();
      left = make_call(std::move(op), {left, parse_unary()});
    }
    return left;
  }
  Pointer parse_unary() {
    bool negative = false;
    while (token_ == Token::symbol && (spelling_ == "-" || spelling_ == "+")) {
      negative = negative != (spelling_ == "-");
      advance();
    }
    Pointer operand = parse_primary(negative);
    if (!negative) return operand;
    return operand->kind == Expression::Kind::literal ? operand : make_call("negate", {operand});
  }
  /// A negative number is a literal of its own, so that the smallest int64 can be written.
  Pointer parse_primary(bool negative) {
    if (take_symbol("(")) {
      Pointer inner = parse_or();
      expect_symbol(")");
      return negative && inner->kind == Expression::Kind::literal ? make_call("negate", {inner}) : inner;
    }
    const std::string spelling = spelling_;
    switch (token_) {
      case Token::number: {
        std::int64_t integer = 0;
        double number = 0;
        const std::string signed_text = fmt::format("{}{}", negative ? "-" : "", spelling);
        Expression::Literal value;
        if (parse_int64(signed_text, integer)) {
          value = integer;
        } else if (parse_float64(signed_text, number)) {
          value = number;
        } else {
          fail(fmt::format("'{}' is not a number", spelling));
        }
        advance();
        return make_literal(std::move(value));
      }
      case Token::string:
        if (negative) fail("a text has no negative");
        advance();
        return make_literal(spelling);
      case Token::quoted_name:
        advance();
        return make_column(spelling);
      case Token::name:
        if (spelling == "and" || spelling == "or" || spelling == "in" || spelling == "is") {
          fail(fmt::format("a value is expected before '{}'", spelling));
        }
        advance();
        if (take_symbol("(")) return parse_call(spelling);
        if (!negative && (spelling == "true" || spelling == "false")) return make_literal(spelling == "true");
        if (!negative && spelling == "null") return make_literal(std::monostate{});
        return make_column(spelling);
      case Token::end:
      case Token::symbol:
        break;
    }
    fail(token_ == Token::end ? "it ends where a value is expected" : fmt::format("'{}' is not a value", spelling_));
  }
  Pointer parse_call(const std::string& name) {
    std::vector<Pointer> arguments;
    if (!take_symbol(")")) {
      do {
        arguments.push_back(parse_or());
      } while (take_symbol(","));
      expect_symbol(")");
    }
    return make_call(name, std::move(arguments));
  }
  static Pointer make_column(std::string name) {
    auto column = std::make_shared<Expression>();
    column->kind = Expression::Kind::column;
    column->name = std::move(name);
    return column;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t token_start_ = 0;
  Token token_ = Token::end;
  std::string spelling_;
  int depth_ = 0;
};

void add_columns(const Expression& expression, std::vector<std::string>& names) {
  if (expression.kind == Expression::Kind::column &&
      std::find(names.begin(), names.end(), expression.name) == names.end()) {
    names.push_back(expression.name);
  }
  for (const Pointer& argument : expression.arguments) add_columns(*argument, names);
}

}  // namespace

std::vector<std::string> Expression::columns() const {
  std::vector<std::string> names;
  add_columns(*this, names);
  return names;
}

std::shared_ptr<const Expression> parse_expression(std::string_view text) {
  if (text.size() > kMaxLength) throw_invalid(fmt::format("expression: longer than {} bytes", kMaxLength));
  return Parser(text).parse();
}

}  // namespace mobula::data
