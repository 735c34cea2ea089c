#include <fmt/format.h>

#include <algorithm>

#include "mobula/text/jinja/lexer.hpp"
#include "mobula/text/jinja/program.hpp"

namespace mobula::text::jinja {
namespace {

constexpr int kMaxDepth = 500;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Block program() {
    Block body = block({});
    if (peek().kind != TokenKind::end) fail(fmt::format("unexpected tag '{}'", tokens_[at_ + 1].text));
    return body;
  }

 private:
  struct Nesting {
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxDepth) parser_.fail("the template is nested too deeply");
    }
    ~Nesting() { --parser_.depth_; }
    Parser& parser_;
  };

  [[noreturn]] void fail(std::string message) const { throw SyntaxError{peek().line, std::move(message)}; }
  const Token& peek() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool accept_sign(std::string_view sign) {
    if (!peek().is_sign(sign)) return false;
    take();
    return true;
  }
  bool accept_name(std::string_view name) {
    if (!peek().is_name(name)) return false;
    take();
    return true;
  }
  static std::string shown(const Token& token) {
    switch (token.kind) {
      case TokenKind::end:
        return "the end of the template";
      case TokenKind::block_end:
        return "'%}'";
      case TokenKind::output_end:
        return "'}}'";
      default:
        return fmt::format("'{}'", token.text);
    }
  }
  void expect_sign(std::string_view sign) {
    if (!accept_sign(sign)) fail(fmt::format("expected '{}', found {}", sign, shown(peek())));
  }
  void expect_name(std::string_view name) {
    if (!accept_name(name)) fail(fmt::format("expected '{}', found {}", name, shown(peek())));
  }
  std::string name() {
    if (peek().kind != TokenKind::name) fail(fmt::format("expected a name, found {}", shown(peek())));
    return take().text;
  }
  void expect_block_end() {
    if (peek().kind != TokenKind::block_end) fail(fmt::format("expected '%}}', found {}", shown(peek())));
    take();
  }
  ExpressionPtr make(ExpressionKind kind) const {
    auto expression = std::make_unique<Expression>();
    expression->kind = kind;
    expression->line = peek().line;
    return expression;
  }
  ExpressionPtr make(ExpressionKind kind, std::string name, ExpressionPtr first, ExpressionPtr second = nullptr) const {
    auto expression = make(kind);
    expression->name = std::move(name);
    if (first) expression->line = first->line;
    expression->operands.push_back(std::move(first));
    if (second) expression->operands.push_back(std::move(second));
    return expression;
  }
  std::unique_ptr<Statement> statement(StatementKind kind) const {
    auto made = std::make_unique<Statement>();
    made->kind = kind;
    made->line = peek().line;
    return made;
  }

  // Reads statements up to (not including) a tag whose name is one of `ends`.
  Block block(const std::vector<std::string_view>& ends) {
    const Nesting nesting(*this);
    Block body;
    for (;;) {
      const Token& token = peek();
      if (token.kind == TokenKind::end) {
        if (!ends.empty()) fail(fmt::format("the template ends where {{% {} %}} is expected", ends.back()));
        return body;
      }
      if (token.kind == TokenKind::text) {
        auto made = statement(StatementKind::text);
        made->text = take().text;
        body.push_back(std::move(made));
      } else if (token.kind == TokenKind::output_begin) {
        take();
        auto made = statement(StatementKind::output);
        made->expression = tuple(true, false);
        if (peek().kind != TokenKind::output_end) fail(fmt::format("expected '}}}}', found {}", shown(peek())));
        take();
        body.push_back(std::move(made));
      } else {
        const std::string& tag = ahead().text;
        if (ahead().kind != TokenKind::name) fail("a tag's name is expected behind '{%'");
        if (std::find(ends.begin(), ends.end(), tag) != ends.end()) return body;
        if (tag.starts_with("end") || tag == "else" || tag == "elif") return unexpected(std::move(body), ends);
        take();
        body.push_back(tag_statement());
      }
    }
  }
  Block unexpected(Block body, const std::vector<std::string_view>& ends) {
    if (ends.empty()) return body;
    fail(fmt::format("unexpected tag '{}', expected '{}'", ahead().text, ends.back()));
  }
  // Reads a body up to {% end %} and that tag.
  Block body_until(std::string_view end) {
    expect_block_end();
    Block body = block({end});
    take();
    take();
    return body;
  }

  // The same for a macro, which accepts what its body names.
  Block macro_body(Statement& macro, std::string_view end) {
    macros_.push_back(&macro);
    Block body = body_until(end);
    macros_.pop_back();
    return body;
  }
  void note_use(std::string_view name) {
    for (Statement* macro : macros_) {
      macro->takes_varargs = macro->takes_varargs || name == "varargs";
      macro->takes_kwargs = macro->takes_kwargs || name == "kwargs";
      macro->takes_caller = macro->takes_caller || name == "caller";
    }
  }

  std::unique_ptr<Statement> tag_statement() {
    const std::string tag = name();
    if (tag == "if") return condition();
    if (tag == "for") return loop();
    if (tag == "set") return set();
    if (tag == "macro") {
      auto made = statement(StatementKind::macro);
      made->text = name();
      parameters(*made);
      made->body = macro_body(*made, "endmacro");
      expect_block_end();
      return made;
    }
    if (tag == "call") {
      auto made = statement(StatementKind::call);
      if (peek().is_sign("(")) parameters(*made);
      made->expression = expression();
      if (made->expression->kind != ExpressionKind::call) fail("expected a call");
      made->body = macro_body(*made, "endcall");
      expect_block_end();
      return made;
    }
    if (tag == "filter") {
      auto made = statement(StatementKind::filter);
      made->expression = filters(nullptr, true);
      made->body = body_until("endfilter");
      expect_block_end();
      return made;
    }
    if (tag == "with") return with();
    if (tag == "print") {
      auto made = statement(StatementKind::output);
      made->expression = tuple(true, false);
      expect_block_end();
      return made;
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail(fmt::format("'{}' outside of a loop", tag));
      auto made = statement(tag == "break" ? StatementKind::break_loop : StatementKind::continue_loop);
      expect_block_end();
      return made;
    }
    if (tag == "generation" || tag == "autoescape" || tag == "block") {
      auto made = statement(StatementKind::scope);
      if (tag == "autoescape" && !(peek().is_name("false") || peek().is_name("False")))
        fail("only autoescape false is possible");
      if (tag != "generation") take();
      made->sees_top_alone = !accept_name("scoped") && tag == "block";
      made->body = body_until("end" + tag);
      if (tag == "block" && peek().kind == TokenKind::name) take();
      expect_block_end();
      return made;
    }
    static constexpr std::string_view kElsewhere[] = {"include", "import", "from", "extends"};
    if (std::find(std::begin(kElsewhere), std::end(kElsewhere), tag) != std::end(kElsewhere)) {
      fail(fmt::format("'{}' needs other templates, which a chat template has none of", tag));
    }
    fail(fmt::format("unknown tag '{}'", tag));
  }

  std::unique_ptr<Statement> condition() {
    const Nesting nesting(*this);
    auto made = statement(StatementKind::condition);
    made->expression = tuple(false, false);
    expect_block_end();
    made->body = block({"elif", "else", "endif"});
    take();
    const std::string end = name();
    if (end == "elif") {
      made->otherwise.push_back(condition());
      return made;
    }
    if (end == "else") {
      made->otherwise = body_until("endif");
    }
    expect_block_end();
    return made;
  }

  std::unique_ptr<Statement> loop() {
    auto made = statement(StatementKind::loop);
    made->target = target(false);
    expect_name("in");
    made->expression = tuple(false, false);
    if (accept_name("if")) made->filter = expression();
    made->recursive = accept_name("recursive");
    expect_block_end();
    ++loops_;
    made->body = block({"else", "endfor"});
    --loops_;
    take();
    if (name() == "else") made->otherwise = body_until("endfor");
    expect_block_end();
    return made;
  }

  std::unique_ptr<Statement> set() {
    auto made = statement(StatementKind::assignment);
    made->target = target(true);
    if (accept_sign("=")) {
      made->expression = tuple(true, false);
      expect_block_end();
      return made;
    }
    made->kind = StatementKind::block_set;
    made->expression = filters(nullptr, false);
    made->body = body_until("endset");
    expect_block_end();
    return made;
  }

  std::unique_ptr<Statement> with() {
    auto made = statement(StatementKind::with);
    while (peek().kind != TokenKind::block_end) {
      if (!made->assignments.empty()) expect_sign(",");
      ExpressionPtr name = target(false);
      expect_sign("=");
      made->assignments.emplace_back(std::move(name), expression());
    }
    made->body = body_until("endwith");
    expect_block_end();
    return made;
  }

  void parameters(Statement& made) {
    expect_sign("(");
    while (!peek().is_sign(")")) {
      if (!made.parameters.empty()) expect_sign(",");
      Parameter parameter{name(), nullptr};
      if (accept_sign("=")) {
        parameter.otherwise = expression();
      } else if (!made.parameters.empty() && made.parameters.back().otherwise) {
        fail("a parameter without a default follows one with a default");
      }
      made.parameters.push_back(std::move(parameter));
    }
    take();
  }

  // A name, names between commas, or (of set) an attribute of a namespace.
  ExpressionPtr target(bool with_namespace) {
    const auto one = [&]() -> ExpressionPtr {
      if (accept_sign("(")) {
        ExpressionPtr inner = target(false);
        expect_sign(")");
        return inner;
      }
      auto variable = make(ExpressionKind::variable);
      variable->name = name();
      static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None"};
      if (std::find(std::begin(kReserved), std::end(kReserved), variable->name) != std::end(kReserved)) {
        fail(fmt::format("can't assign to '{}'", variable->name));
      }
      if (with_namespace && accept_sign(".")) return make(ExpressionKind::attribute, name(), std::move(variable));
      return variable;
    };
    ExpressionPtr first = one();
    if (!peek().is_sign(",")) return first;
    auto all = make(ExpressionKind::tuple);
    all->operands.push_back(std::move(first));
    while (accept_sign(",")) {
      if (peek().kind != TokenKind::name && !peek().is_sign("(")) break;
      all->operands.push_back(one());
    }
    return all;
  }

  // An expression, or several between commas, which make a tuple.
  ExpressionPtr tuple(bool with_condition, bool in_parentheses) {
    const auto one = [&] { return with_condition || in_parentheses ? expression() : disjunction(); };
    if (in_parentheses && peek().is_sign(")")) return make(ExpressionKind::tuple);
    ExpressionPtr first = one();
    if (!peek().is_sign(",")) return first;
    auto all = make(ExpressionKind::tuple);
    all->operands.push_back(std::move(first));
    while (accept_sign(",")) {
      const Token& next = peek();
      if (next.kind == TokenKind::block_end || next.kind == TokenKind::output_end || next.is_sign(")")) break;
      all->operands.push_back(one());
    }
    return all;
  }

  ExpressionPtr expression() {
    const Nesting nesting(*this);
    ExpressionPtr value = disjunction();
    while (accept_name("if")) {
      auto made = make(ExpressionKind::conditional);
      made->operands.push_back(std::move(value));
      made->operands.push_back(disjunction());
      made->operands.push_back(accept_name("else") ? expression() : nullptr);
      value = std::move(made);
    }
    return value;
  }
  ExpressionPtr disjunction() {
    ExpressionPtr left = conjunction();
    while (accept_name("or")) left = make(ExpressionKind::binary, "or", std::move(left), conjunction());
    return left;
  }
  ExpressionPtr conjunction() {
    ExpressionPtr left = negation();
    while (accept_name("and")) left = make(ExpressionKind::binary, "and", std::move(left), negation());
    return left;
  }
  ExpressionPtr negation() {
    const Nesting nesting(*this);
    if (accept_name("not")) return make(ExpressionKind::unary, "not", negation());
    return comparison();
  }
  ExpressionPtr comparison() {
    ExpressionPtr left = sum();
    ExpressionPtr made;
    for (;;) {
      std::string sign;
      static constexpr std::string_view kSigns[] = {"==", "!=", "<", "<=", ">", ">="};
      if (peek().kind == TokenKind::sign &&
          std::find(std::begin(kSigns), std::end(kSigns), peek().text) != std::end(kSigns)) {
        sign = take().text;
      } else if (accept_name("in")) {
        sign = "in";
      } else if (peek().is_name("not") && ahead().is_name("in")) {
        take();
        take();
        sign = "not in";
      } else {
        return made ? std::move(made) : std::move(left);
      }
      if (!made) made = make(ExpressionKind::comparison, "", std::move(left));
      made->signs.push_back(std::move(sign));
      made->operands.push_back(sum());
    }
  }
  ExpressionPtr sum() {
    ExpressionPtr left = concatenation();
    while (peek().is_sign("+") || peek().is_sign("-")) {
      std::string sign = take().text;
      left = make(ExpressionKind::binary, std::move(sign), std::move(left), concatenation());
    }
    return left;
  }
  ExpressionPtr concatenation() {
    ExpressionPtr left = product();
    while (accept_sign("~")) left = make(ExpressionKind::binary, "~", std::move(left), product());
    return left;
  }
  ExpressionPtr product() {
    ExpressionPtr left = power();
    while (peek().is_sign("*") || peek().is_sign("/") || peek().is_sign("//") || peek().is_sign("%")) {
      std::string sign = take().text;
      left = make(ExpressionKind::binary, std::move(sign), std::move(left), power());
    }
    return left;
  }
  ExpressionPtr power() {
    ExpressionPtr left = unary(true);
    while (accept_sign("**")) left = make(ExpressionKind::binary, "**", std::move(left), unary(true));
    return left;
  }
  ExpressionPtr unary(bool with_filters) {
    const Nesting nesting(*this);
    ExpressionPtr value;
    if (peek().is_sign("-") || peek().is_sign("+")) {
      std::string sign = take().text;
      value = make(ExpressionKind::unary, std::move(sign), unary(false));
    } else {
      value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters(std::move(value), false) : std::move(value);
  }

  ExpressionPtr primary() {
    const Token token = peek();
    auto made = make(ExpressionKind::constant);
    switch (token.kind) {
      case TokenKind::name:
        take();
        if (token.text == "true" || token.text == "True") {
          made->value = Value(true);
        } else if (token.text == "false" || token.text == "False") {
          made->value = Value(false);
        } else if (token.text == "none" || token.text == "None") {
          made->value = Value(None{});
        } else {
          made->kind = ExpressionKind::variable;
          made->name = token.text;
          note_use(made->name);
        }
        return made;
      case TokenKind::string: {
        std::string text;
        while (peek().kind == TokenKind::string) text += take().text;
        made->value = Value(std::move(text));
        return made;
      }
      case TokenKind::integer:
        take();
        made->value = Value(token.integer);
        return made;
      case TokenKind::real:
        take();
        made->value = Value(token.real);
        return made;
      default:
        break;
    }
    if (accept_sign("(")) {
      made = tuple(true, true);
      expect_sign(")");
      return made;
    }
    if (accept_sign("[")) {
      made->kind = ExpressionKind::list;
      while (!peek().is_sign("]")) {
        if (!made->operands.empty()) expect_sign(",");
        if (peek().is_sign("]")) break;
        made->operands.push_back(expression());
      }
      take();
      return made;
    }
    if (accept_sign("{")) {
      made->kind = ExpressionKind::dict;
      while (!peek().is_sign("}")) {
        if (!made->operands.empty()) expect_sign(",");
        if (peek().is_sign("}")) break;
        made->operands.push_back(expression());
        expect_sign(":");
        made->operands.push_back(expression());
      }
      take();
      return made;
    }
    fail(fmt::format("unexpected {}", shown(token)));
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    for (;;) {
      if (accept_sign(".")) {
        if (peek().kind == TokenKind::integer) {
          auto index = make(ExpressionKind::constant);
          index->value = Value(take().integer);
          value = make(ExpressionKind::subscript, "", std::move(value), std::move(index));
        } else {
          value = make(ExpressionKind::attribute, name(), std::move(value));
        }
      } else if (accept_sign("[")) {
        value = subscript(std::move(value));
      } else if (peek().is_sign("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }
  ExpressionPtr subscript(ExpressionPtr value) {
    ExpressionPtr parts[3];
    int part = 0;
    bool slice = false;
    while (!peek().is_sign("]")) {
      if (accept_sign(":")) {
        slice = true;
        if (++part > 2) fail("a slice has at most three parts");
      } else {
        if (parts[part]) fail(fmt::format("expected ']', found {}", shown(peek())));
        parts[part] = expression();
      }
    }
    take();
    if (!slice && !parts[0]) fail("expected an index");
    if (!slice) return make(ExpressionKind::subscript, "", std::move(value), std::move(parts[0]));
    auto made = make(ExpressionKind::slice, "", std::move(value));
    for (auto& each : parts) made->operands.push_back(std::move(each));
    return made;
  }
  ExpressionPtr call(ExpressionPtr value) {
    auto made = make(ExpressionKind::call, "", std::move(value));
    arguments(*made);
    return made;
  }
  void arguments(Expression& made) {
    expect_sign("(");
    bool any = false;
    while (!peek().is_sign(")")) {
      if (any) expect_sign(",");
      if (peek().is_sign(")")) break;
      any = true;
      if (accept_sign("*")) {
        made.star = expression();
      } else if (accept_sign("**")) {
        made.double_star = expression();
      } else if (peek().kind == TokenKind::name && ahead().is_sign("=")) {
        std::string key = name();
        take();
        made.named.emplace_back(std::move(key), expression());
      } else {
        if (!made.named.empty()) fail("a positional argument follows a named one");
        made.positional.push_back(expression());
      }
    }
    take();
  }

  // Filters, tests and calls behind a value. With `begin`, the first filter's name stands without '|'.
  ExpressionPtr filters(ExpressionPtr value, bool begin) {
    for (;; begin = false) {
      if (begin || accept_sign("|")) {
        std::string filter = dotted();
        value = make(ExpressionKind::filter, std::move(filter), std::move(value));
        if (!value->operands[0]) value->line = peek().line;
        if (peek().is_sign("(")) arguments(*value);
      } else if (value && accept_name("is")) {
        value = test(std::move(value));
      } else if (value && peek().is_sign("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }
  std::string dotted() {
    std::string text = name();
    while (accept_sign(".")) text += '.' + name();
    return text;
  }
  ExpressionPtr test(ExpressionPtr value) {
    const bool negated = accept_name("not");
    std::string test = dotted();
    auto made = make(ExpressionKind::test, std::move(test), std::move(value));
    const Token& next = peek();
    const bool argument = next.kind == TokenKind::string || next.kind == TokenKind::integer ||
                          next.kind == TokenKind::real || next.is_sign("[") || next.is_sign("{") ||
                          (next.kind == TokenKind::name && !next.is_name("else") && !next.is_name("or") &&
                           !next.is_name("and") && !next.is_name("if") && !next.is_name("in") && !next.is_name("not"));
    if (next.is_sign("(")) {
      arguments(*made);
    } else if (next.is_name("is")) {
      fail("tests can't be chained with 'is'");
    } else if (argument) {
      made->positional.push_back(postfix(primary()));
    }
    return negated ? make(ExpressionKind::unary, "not", std::move(made)) : std::move(made);
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  std::vector<Statement*> macros_;  // around what is read
};

}  // namespace

Program parse_program(std::string_view source, std::string_view name) {
  return {std::string(name), Parser(cut_template(source)).program()};
}

}  // namespace mobula::text::jinja
