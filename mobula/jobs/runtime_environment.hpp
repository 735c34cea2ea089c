/// What a job finds on the cluster: variables, a working directory, and what else Ray's runtime environments hold.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/base/json.hpp"

namespace mobula::jobs {

/// Parses YAML or JSON as Ray's `--runtime-env` files hold it. `name` leads the messages. Throws Error(corrupt) for what is
/// neither, Error(invalid_argument) for a document that is no mapping.
Json parse_runtime_environment(std::string_view text, const std::string& name);

/// Reads what was given: a JSON object, or the name of a YAML or JSON file; an empty object for an empty text.
Json read_runtime_environment(const std::string& given);

/// Sets a variable of the job. One that is there stays unless `replace`. Throws Error(invalid_argument) for a name that is
/// empty or has a `=`.
void set_job_variable(Json& environment, const std::string& name, const std::string& value, bool replace);

/// Splits KEY=VALUE; `option` leads the message of the Error(invalid_argument) for what is none.
std::pair<std::string, std::string> split_assignment(const std::string& text, std::string_view option);

/// Returns the runtime environment as it may be shown: the values of variables are secrets.
Json redacted(Json environment);

/// Joins words to a command that the cluster's shell splits into the same words.
std::string shell_command(const std::vector<std::string>& words);

}  // namespace mobula::jobs
