// The letters that GPT-2 writes for bytes in its vocabulary: printable Latin-1 for itself, the other bytes, in order,
// as U+0100 and on ("Ġ" is a space).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dlcm {

// The letter of `byte`, in UTF-8.
std::string letter_of_byte(unsigned char byte);

// The bytes that `letters` (well-formed UTF-8) stand for; nothing where one of them stands for no byte.
std::optional<std::string> bytes_of_letters(std::string_view letters);

}  // namespace dlcm
