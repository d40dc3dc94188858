// What a run's newest checkpoint makes of texts and prompts, for the report.
#pragma once

#include "dlcm/analysis/report.h"

#include <string>
#include <vector>

namespace dlcm {

// Characters of a file that the report segments.
inline constexpr int64_t kSampleCharacters = 600;
inline constexpr int64_t kContinuationTokens = 80;
inline constexpr double kContinuationTemperature = 0.8;

// Short texts of several kinds, written for this project: English and Chinese prose, code, mathematics.
std::vector<SampleText> built_in_texts();
std::vector<std::string> built_in_prompts();

// The first kSampleCharacters characters of a text file, under its path. Throws Error where there is no such file or it
// is empty, RuntimeFailure where it cannot be read.
SampleText text_of_file(const std::string& path);

// Segments the texts (a model with concepts only) at the stored threshold and continues the prompts.
// A run without a checkpoint that can be used gives a `problem` and no samples.
RunSamples sample_run(const RunRecord& run, const std::vector<SampleText>& texts,
                      const std::vector<std::string>& prompts);

}  // namespace dlcm
