// A mixture of small data sets of bytes, for tests of what is trained on.
#pragma once

#include "dlcm/data/build.h"
#include "tests/io/temporary_directory.h"

#include <fmt/format.h>

#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace dlcm::test {

// Builds a data set for each name, of `documents` documents that `text` writes from its name and their number, and
// weighs it by its name's length. Returns the mixture file's path.
inline std::string make_mixture(const TemporaryDirectory& directory, const std::vector<std::string>& names,
                                int documents, const std::function<std::string(const std::string&, int)>& text) {
  std::string file;
  for (const auto& name : names) {
    std::string content;
    for (int index = 0; index < documents; ++index) content += text(name, index) + "\n<|endoftext|>\n";
    overwrite(directory / (name + ".txt"), content);
    std::istringstream none;
    build_data({.tokenizer = "bytes",
                .inputs = {directory / (name + ".txt")},
                .validation_fraction = 0,
                .output = directory / name},
               none);
    file += fmt::format("[[source]]\ndata = \"{}\"\nweight = {}\n", name, name.size());
  }
  overwrite(directory / "mixture.toml", file);
  return directory / "mixture.toml";
}

}  // namespace dlcm::test
