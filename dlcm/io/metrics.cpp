#include "dlcm/io/metrics.h"

#include "dlcm/util/error.h"

#include <nlohmann/json.hpp>

#include <string_view>

namespace dlcm {
namespace {

using nlohmann::json;

// Calls visit(text, object) for every line of `content`, which came from `path`.
template <typename Visit>
void visit_lines(std::string_view content, const std::string& path, Visit&& visit) {
  for (int64_t number = 1; !content.empty(); ++number) {
    const size_t length = content.find('\n');
    const bool ended = length != std::string_view::npos;
    const std::string_view line = content.substr(0, length);
    content.remove_prefix(ended ? length + 1 : content.size());
    const auto object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (object.is_object()) {
      visit(line, object);
    } else if (ended) {
      throw Error("expected a JSON object in line {} of {}, found something else: remove that line", number, path);
    }
  }
}

}  // namespace

MetricsLog::MetricsLog(const std::string& run)
    : path_(run + "/metrics.jsonl"), file_(std::make_unique<AppendFile>(path_)) {}

void MetricsLog::append(const json& line) {
  file_->append(line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

void MetricsLog::cut_back(int64_t step) {
  const std::string content = read_file(path_);
  std::string kept;
  visit_lines(content, path_, [&](std::string_view line, const json& object) {
    const auto found = object.find("step");
    if (found == object.end() || !found->is_number_integer() || found->get<int64_t>() <= step) {
      kept.append(line).append("\n");
    }
  });
  if (kept != content) {
    write_file_synced(path_, kept);
    file_ = std::make_unique<AppendFile>(path_);
  }
}

std::vector<json> read_metrics(const std::string& path) {
  std::vector<json> objects;
  visit_lines(read_file(path), path, [&](std::string_view, const json& object) { objects.push_back(object); });
  return objects;
}

}  // namespace dlcm
