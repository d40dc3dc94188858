#include "dlcm/data/build.h"

#include "dlcm/data/duplicates.h"
#include "dlcm/data/encode.h"
#include "dlcm/data/partial_folder.h"
#include "dlcm/data/splitter.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"
#include "dlcm/util/stop_signal.h"
#include "dlcm/util/utf8.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <istream>
#include <memory>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

constexpr int64_t kProgressUnit = int64_t{1} << 20;
constexpr int64_t kStateFormat = 1;
constexpr size_t kMostDomains = 4096;
constexpr int64_t kShownProblems = 5;

int64_t whole_units(int64_t bytes) { return (bytes + kProgressUnit - 1) / kProgressUnit; }

void check(const DataBuild& build) {
  if (!(build.validation_fraction >= 0 && build.validation_fraction < 1)) {
    throw Error("expected a --validation-fraction from 0 to below 1, found {}", build.validation_fraction);
  }
  if (build.domain.size() > kLongestDomainBytes || !is_utf8(build.domain) ||
      build.domain.find('\0') != std::string::npos) {
    throw Error("expected a --domain of at most {} bytes of UTF-8, found \"{}\"", kLongestDomainBytes, build.domain);
  }
}

// JSON that holds text of any bytes: what is no UTF-8 becomes U+FFFD.
template <typename Json>
std::string dumped(const Json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// A list of paths as a state keeps it: a shell may have made thousands of one.
nlohmann::json kept(const std::vector<std::string>& paths) {
  constexpr size_t kMostInFull = 16;
  if (paths.size() <= kMostInFull) return paths;
  return fmt::format("{} paths of hash {}", paths.size(), hash_bytes(fmt::format("{}", fmt::join(paths, "\n"))));
}

// The settings that decide what the shards hold; an interrupted build can only be gone on with under the same.
nlohmann::json deciding_settings(const DataBuild& build, const Tokenizer& tokenizer) {
  return {{"--tokenizer", tokenizer.hash()},
          {"--input", kept(build.inputs)},
          {"--validation", kept(build.validation)},
          {"--validation-fraction", build.validation_fraction},
          {"--domain", build.domain},
          {"--field", build.fields.text},
          {"--domain-field", build.fields.domain},
          {"--format", static_cast<int>(build.rules.format)},
          {"--drop-duplicates", build.drop_duplicates},
          {"shard tokens", build.shard_tokens}};
}

RecordInput opened(const std::vector<std::string>& paths, const InputRules& rules, std::istream& standard_input) {
  RecordInput input(paths, rules, standard_input);
  for (const auto& file : input.files()) {
    // These may be one text or JSON lines: only the user knows.
    for (const std::string_view ending : {".json", ".json.gz", ".json.zst"}) {
      if (rules.format != InputFormat::by_name || !file.ends_with(ending)) continue;
      throw Error("expected a name that tells text from JSON lines, found {}: say --format jsonl or --format text",
                  file);
    }
  }
  return input;
}

// Tells whether the files that were read so far are the same as before: paths, sizes and times of change.
class ReadFiles {
 public:
  explicit ReadFiles(const std::vector<std::string>& files) : files_(files) {}

  // Of the files up to number `last`.
  std::string hash_up_to(int64_t last) {
    for (; next_ <= last && next_ < static_cast<int64_t>(files_.size()); ++next_) {
      const auto& path = files_[static_cast<size_t>(next_)];
      struct stat status {};
      const bool regular = ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
      hash_.update(
          regular ? fmt::format("{}\n{} {} {}\n", path, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
                  : path + "\n");
    }
    return hash_.digest();
  }

 private:
  const std::vector<std::string>& files_;
  StreamHash hash_;
  int64_t next_ = 0;
};

// Ends the work when a signal has come and all is saved.
struct Stopped {
  int signal;
};

class Build {
 public:
  Build(const DataBuild& build, std::istream& standard_input)
      : build_(build),
        tokenizer_(load_tokenizer(build.tokenizer)),
        inputs_{opened(build.inputs, build.rules, standard_input),
                opened(build.validation, build.rules, standard_input)},
        read_files_{ReadFiles(inputs_[0].files()), ReadFiles(inputs_[1].files())},
        folder_(build.output),
        train_(folder_.path(), "train", header(), build.shard_tokens),
        valid_(folder_.path(), "valid", header(), build.shard_tokens),
        splitter_(*tokenizer_, train_, valid_, build.validation_fraction, folder_.path()),
        seen_(folder_.path()) {
    if (folder_.state()) {
      go_on(*folder_.state());
    } else {
      problems_ = std::make_unique<ResumableFile>(problems_path(), 0);
    }
  }

  DataSummary run() {
    try {
      for (; phase_ < inputs_.size(); ++phase_) read_input();
      finish();
    } catch (const Stopped& stopped) {
      summary_.signal = stopped.signal;
    }
    return summary();
  }

 private:
  ShardHeader header() const {
    return {.vocabulary = tokenizer_->vocabulary(), .tokenizer_hash = tokenizer_->hash(), .domain = build_.domain};
  }
  std::string problems_path() const { return folder_.path_of("problems.jsonl"); }

  DataSummary summary() const {
    DataSummary summary = summary_;
    summary.train = train_.summary();
    summary.valid = valid_.summary();
    summary.train_domains = train_.domains();
    summary.valid_domains = valid_.domains();
    return summary;
  }

  void read_input() {
    auto& input = inputs_[phase_];
    if (input.files().empty()) return;
    line_.emplace(ProgressLine::Options{.label = phase_ == 0 ? "MiB read" : "validation, MiB read",
                                        .total = whole_units(input.bytes()),
                                        .first_step = whole_units(input.bytes_read()),
                                        .stream = stderr,
                                        .clock = {}});
    encode_records(input, *tokenizer_, build_.fields, build_.domain, build_.threads,
                   [&](EncodedChunk chunk) { take(std::move(chunk)); });
    line_.reset();
  }

  void take(EncodedChunk chunk) {
    for (EncodedRecord& record : chunk.records) {
      uncommitted_bytes_ += record.document.text_bytes;
      take(std::move(record));
    }
    const int64_t documents = train_.summary().documents + valid_.summary().documents;
    const auto tokens = static_cast<double>(train_.summary().tokens + valid_.summary().tokens);
    line_->update(whole_units(chunk.bytes_read),
                  {fmt::format("{} documents", documents), fmt::format("{:.1f}M tokens", tokens / 1e6)});
    const int signal = stop_.received();
    if (signal != 0 || uncommitted_bytes_ >= build_.commit_bytes || seen_.is_full()) commit(chunk.place);
    if (signal != 0) throw Stopped{signal};
  }

  void take(EncodedRecord record) {
    if (record.origin.fault) return leave_out(record.origin);
    if (record.document.ids.empty()) {
      ++summary_.documents_empty;
      return;
    }
    if (build_.drop_duplicates && !seen_.add(record.text_hash)) {
      ++summary_.documents_duplicate;
      return;
    }
    if (!record.is_utf8) {
      ++summary_.documents_not_utf8;
      note_problem(record.origin, "not_utf8_kept", "");
    }
    if (build_.validation.empty()) {
      splitter_.add(std::move(record.document), record.text_hash.high);
    } else {
      (phase_ == 0 ? train_ : valid_).add(record.document);
    }
    if (train_.domains().size() > kMostDomains) {
      throw Error(
          "expected at most {} labels in the field \"{}\", found more in line {} of {}: name a field that holds a "
          "label with --domain-field",
          kMostDomains, build_.fields.domain, record.origin.line, inputs_[phase_].name_of_file(record.origin.file));
    }
  }

  void leave_out(InputRecord& record) {
    if (!build_.skip_bad) {
      record.message += ", or leave out all that is bad with --skip-bad";
      throw_fault(record);
    }
    note_problem(record, name_of(*record.fault), record.message);
    if (++summary_.faults[*record.fault] <= kShownProblems) line_->message("left out: " + record.message);
  }

  void note_problem(const InputRecord& record, std::string_view problem, std::string_view message) {
    nlohmann::ordered_json line{
        {"file", inputs_[phase_].name_of_file(record.file)}, {"line", record.line}, {"problem", problem}};
    if (!message.empty()) line["message"] = message;
    problems_->append(dumped(line) + "\n");
  }

  // Makes the work up to `place` safe: first what was written, then the state that counts it, then what only older
  // states needed may go.
  void commit(const InputPlace& place) {
    problems_->sync();
    nlohmann::json faults = nlohmann::json::object();
    for (const auto& [fault, count] : summary_.faults) faults[std::to_string(static_cast<int>(fault))] = count;
    nlohmann::json state{{"format", kStateFormat},
                         {"settings", deciding_settings(build_, *tokenizer_)},
                         {"phase", phase_},
                         {"file", place.file},
                         {"bytes", place.bytes},
                         {"lines", place.lines},
                         {"hash", place.hash},
                         {"files_hash", read_files_[phase_].hash_up_to(place.file)},
                         {"train", train_.commit()},
                         {"valid", valid_.commit()},
                         {"splitter", splitter_.commit()},
                         {"seen", seen_.commit()},
                         {"problems_bytes", problems_->bytes()},
                         {"not_utf8", summary_.documents_not_utf8},
                         {"empty", summary_.documents_empty},
                         {"duplicate", summary_.documents_duplicate},
                         {"faults", std::move(faults)}};
    folder_.save_state(std::move(state));
    train_.forget_older_states();
    valid_.forget_older_states();
    splitter_.forget_older_states();
    seen_.forget_older_states();
    uncommitted_bytes_ = 0;
  }

  void go_on(const nlohmann::json& state) {
    try {
      refuse_other_settings(state);
      phase_ = state.at("phase");
      const InputPlace place{state.at("file"), state.at("bytes"), state.at("lines"), state.at("hash")};
      if (state.at("files_hash") != read_files_.at(phase_).hash_up_to(place.file)) {
        throw Error(
            "expected the input files that the interrupted build in {} has read, found other ones or changed "
            "ones: remove that folder to begin again",
            folder_.path());
      }
      inputs_[phase_].go_to(place);
      train_.go_on(state.at("train"));
      valid_.go_on(state.at("valid"));
      splitter_.go_on(state.at("splitter"));
      seen_.go_on(state.at("seen"));
      problems_ = std::make_unique<ResumableFile>(problems_path(), state.at("problems_bytes").get<int64_t>());
      summary_.documents_not_utf8 = state.at("not_utf8");
      summary_.documents_empty = state.at("empty");
      summary_.documents_duplicate = state.at("duplicate");
      for (const auto& [fault, count] : state.at("faults").items()) {
        summary_.faults[static_cast<InputFault>(std::stoi(fault))] = count;
      }
    } catch (const nlohmann::json::exception& error) {
      throw Error(
          "expected the state of an interrupted build in {}, found something else ({}): remove that folder to "
          "begin again",
          folder_.path(), error.what());
    }
    fmt::print(stderr, "going on with the build that was interrupted after {} documents\n",
               train_.summary().documents + valid_.summary().documents);
  }

  void refuse_other_settings(const nlohmann::json& state) const {
    const auto asked = nlohmann::json::parse(dumped(deciding_settings(build_, *tokenizer_)));
    if (state.at("format") != kStateFormat) {
      throw Error("expected a build of this version of dlcm in {}, found another: remove that folder to begin again",
                  folder_.path());
    }
    for (const auto& [key, value] : asked.items()) {
      if (state.at("settings").at(key) == value) continue;
      throw Error(
          "expected {} to be {} as in the interrupted build in {}, found {}: repeat it, or remove that folder to "
          "begin again",
          key, dumped(state.at("settings").at(key)), folder_.path(), dumped(value));
    }
  }

  void finish() {
    splitter_.finish();
    const auto refuse_empty = [](const ShardWriter& split, const std::vector<std::string>& paths) {
      if (split.summary().documents == 0) throw Error("expected text in {}, found none", fmt::join(paths, ", "));
    };
    refuse_empty(train_, build_.inputs);
    if (!build_.validation.empty()) refuse_empty(valid_, build_.validation);
    train_.finish();
    valid_.finish();
    problems_->sync();
    if (problems_->bytes() == 0) std::filesystem::remove(problems_path());
    write_file_synced(folder_.path_of("tokenizer"), tokenizer_->serialized());
    write_file_synced(folder_.path_of("statistics.json"), as_json(summary()).dump(2) + "\n");
    folder_.finish();
  }

  const DataBuild& build_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::array<RecordInput, 2> inputs_;  // training (or what is split), validation
  std::array<ReadFiles, 2> read_files_;
  PartialFolder folder_;
  ShardWriter train_, valid_;
  Splitter splitter_;
  SeenTexts seen_;
  std::unique_ptr<ResumableFile> problems_;
  StopSignal stop_;
  size_t phase_ = 0;  // the input that is read
  int64_t uncommitted_bytes_ = 0;
  DataSummary summary_;  // of what is counted here
  std::optional<ProgressLine> line_;
};

nlohmann::ordered_json as_json(const SplitSummary& split) {
  return {{"documents", split.documents},
          {"tokens", split.tokens},
          {"bytes", split.bytes},
          {"bytes_per_token", split.bytes_per_token()}};
}

nlohmann::ordered_json as_json(const SplitSummary& split, const std::map<std::string, SplitSummary>& domains) {
  auto result = as_json(split);
  for (const auto& [name, summary] : domains) result["domains"][name] = as_json(summary);
  return result;
}

}  // namespace

nlohmann::ordered_json as_json(const DataSummary& summary) {
  auto left_out = nlohmann::ordered_json::object();
  for (const auto& [fault, count] : summary.faults) left_out[name_of(fault)] = count;
  return {{"train", as_json(summary.train, summary.train_domains)},
          {"valid", as_json(summary.valid, summary.valid_domains)},
          {"documents_not_utf8", summary.documents_not_utf8},
          {"documents_empty", summary.documents_empty},
          {"documents_duplicate", summary.documents_duplicate},
          {"left_out", std::move(left_out)}};
}

DataSummary build_data(const DataBuild& build, std::istream& standard_input) {
  check(build);
  return Build(build, standard_input).run();
}

}  // namespace dlcm
