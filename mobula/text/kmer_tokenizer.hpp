/// Vocabularies of k-mers: all words of k letters over a small alphabet, for DNA, proteins and sequences of events.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// Makes a tokenizer that cuts texts into k letters of the alphabet (code points) each, from the left; what is left over,
/// and line breaks, are tokens of their own, everything else is unknown. Ids: the unknown token, the line break, the
/// letters, then the k-mers in the alphabet's order. Throws Error(invalid_argument) for an empty alphabet, a letter
/// given twice, and more than a million k-mers.
std::shared_ptr<const Tokenizer> make_kmer_tokenizer(std::string_view alphabet, std::size_t k);

}  // namespace mobula::text
