/// A chat's messages and tools as OpenAI's API spells them, made into what chat templates read.
#pragma once

#include "mobula/base/json.hpp"
#include "mobula/serve/openai/field_reader.hpp"

namespace mobula::serve::openai {

/// Reads "messages": system, developer (which reads system), user, assistant and tool. Content becomes text; an assistant's
/// "tool_calls" keep their "id", and their arguments become objects, which templates expect. Throws ApiError(400) naming
/// the place.
Json read_messages(FieldReader& fields);

/// Reads "tools", an array of functions, as it stands; null where it is absent or empty. Throws ApiError(400) naming the place.
Json read_tools(FieldReader& fields);

}  // namespace mobula::serve::openai
