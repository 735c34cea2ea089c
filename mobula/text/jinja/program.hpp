/// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/text/jinja/value.hpp"

namespace mobula::text::jinja {

enum class ExpressionKind {
  constant,     ///< value
  variable,     ///< name
  list,         ///< operands
  tuple,        ///< operands
  dict,         ///< operands: key, value, key, value ...
  attribute,    ///< operands[0].name
  subscript,    ///< operands[0][operands[1]]
  slice,        ///< operands[0][operands[1]:operands[2]:operands[3]]; absent parts are null
  call,         ///< operands[0](arguments)
  filter,       ///< operands[0] | name(arguments)
  test,         ///< operands[0] is name(arguments)
  unary,        ///< name operands[0]: "not", "-", "+"
  binary,       ///< operands[0] name operands[1]: arithmetic, "~", "and", "or"
  comparison,   ///< operands[0] signs[0] operands[1] signs[1] ...
  conditional,  ///< operands[0] if operands[1] else operands[2]; the last may be null
};

struct Expression {
  ExpressionKind kind;
  int line = 0;
  std::string name;
  Value value;
  std::vector<std::unique_ptr<Expression>> operands;
  std::vector<std::string> signs;
  // Arguments of a call, filter or test. A star or two stars stand for unpacked ones.
  std::vector<std::unique_ptr<Expression>> positional;
  std::vector<std::pair<std::string, std::unique_ptr<Expression>>> named;
  std::unique_ptr<Expression> star;
  std::unique_ptr<Expression> double_star;
};
using ExpressionPtr = std::unique_ptr<Expression>;

enum class StatementKind {
  text,        ///< text
  output,      ///< expression
  condition,   ///< if expression: body, else: otherwise
  loop,        ///< for target in expression if filter: body, else: otherwise
  assignment,  ///< set target = expression
  block_set,   ///< set target: body, through the filters of expression (whose innermost operand is null)
  macro,       ///< macro name(parameters): body
  call,        ///< call(parameters) expression: body
  filter,      ///< filter expression (innermost operand null): body
  with,        ///< with assignments: body
  scope,       ///< body in a scope of its own
  break_loop,
  continue_loop,
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  ///< null where there is no default
};

struct Statement {
  StatementKind kind;
  int line = 0;
  std::string text;      ///< text, or a macro's name
  ExpressionPtr target;  ///< variable, tuple of targets, or attribute of a variable
  ExpressionPtr expression;
  ExpressionPtr filter;
  bool recursive = false;
  bool sees_top_alone =
      false;  ///< a scope that has the template's own variables, and none of the loops and macros around it
  // Macros: what their bodies name, and so accept beyond their parameters.
  bool takes_varargs = false;
  bool takes_kwargs = false;
  bool takes_caller = false;
  std::vector<Parameter> parameters;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;
  Block body;
  Block otherwise;
};

/// A parsed template.
struct Program {
  std::string name;
  Block body;
};

/// Parses a template (valid UTF-8). Throws SyntaxError.
Program parse_program(std::string_view source, std::string_view name);

}  // namespace mobula::text::jinja
