#include "dlcm/serve/api.h"

#include "dlcm/analysis/html.h"
#include "dlcm/analysis/web_assets.h"
#include "dlcm/serve/api_error.h"
#include "dlcm/serve/completion_answer.h"
#include "dlcm/serve/segment_answer.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <utility>

namespace dlcm {
namespace {

using json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kModels = "/v1/models";

HttpReply json_reply(const json& body) { return {.body = body.dump()}; }

}  // namespace

// What an endpoint is. Small answers are made at once in the server's thread; the others in a strand of their own.
struct Api::Route {
  enum class Kind { at_once, in_strand, completion, chat, segment };
  std::string_view path, method;
  bool open = false;  // to everyone, also where there is a key
  bool needs_model = true;
  Kind kind = Kind::at_once;
  HttpReply (Api::*reply)(const HttpRequest&) const = nullptr;
};

const Api::Route* Api::route_of(std::string_view path) {
  using Kind = Route::Kind;
  static const std::array routes{
      Route{"/", "GET", true, false, Kind::at_once, &Api::page},
      Route{"/health", "GET", true, false, Kind::at_once, &Api::health},
      Route{"/metrics", "GET", false, false, Kind::at_once, &Api::metrics},
      Route{kModels, "GET", false, true, Kind::at_once, &Api::models},
      Route{"/tokenizer_info", "GET", false, true, Kind::at_once, &Api::tokenizer_info},
      Route{"/tokenize", "POST", false, true, Kind::in_strand, &Api::tokenize},
      Route{"/detokenize", "POST", false, true, Kind::in_strand, &Api::detokenize},
      Route{"/segment", "POST", false, true, Kind::segment},
      Route{"/v1/completions", "POST", false, true, Kind::completion},
      Route{"/v1/chat/completions", "POST", false, true, Kind::chat},
  };
  for (const auto& route : routes) {
    if (route.path == path) return &route;
  }
  // GET /v1/models/NAME
  if (path.size() > kModels.size() + 1 && path.substr(0, kModels.size()) == kModels && path[kModels.size()] == '/') {
    return route_of(kModels);
  }
  return nullptr;
}

bool equal_keys(std::string_view left, std::string_view right) {
  // All bytes of `right` are looked at, whatever was found before.
  volatile unsigned char difference = left.size() != right.size() ? 1 : 0;
  for (size_t i = 0; i < right.size(); ++i) {
    const char other = i < left.size() ? left[i] : '\0';
    difference = static_cast<unsigned char>(difference | static_cast<unsigned char>(other ^ right[i]));
  }
  return difference == 0;
}

Api::Api(ApiSettings settings, ServerMetrics& metrics) : settings_(std::move(settings)), metrics_(metrics) {}

Api::~Api() { stop(); }

void Api::set_model(std::unique_ptr<ServedModel> model) {
  model_ = std::move(model);
  loaded_ = model_.get();
}

void Api::stop() {
  loaded_ = nullptr;
  if (model_) model_->scheduler().stop();
}

ServedModel& Api::model() const {
  auto* loaded = loaded_.load();
  if (loaded == nullptr) throw ApiError(503, "the model is being loaded: try again later", "", "loading");
  return *loaded;
}

bool Api::authorised(const HttpRequest& head) const {
  if (settings_.api_key.empty()) return true;
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view field = head.authorization;
  return field.substr(0, kBearer.size()) == kBearer && equal_keys(field.substr(kBearer.size()), settings_.api_key);
}

void Api::check(const Route* route, const HttpRequest& head) const {
  // A page of another origin may not use a visitor's server.
  if (!head.origin.empty() && head.origin != "http://" + head.host && head.origin != "https://" + head.host) {
    throw ApiError(403, "requests from pages of other origins are refused");
  }
  if (route == nullptr) {
    throw ApiError(404, fmt::format("there is no {}: docs/serving.md lists the endpoints", valid_utf8(head.path)));
  }
  if (!route->open && !authorised(head)) {
    throw ApiError(401, "expected the server's API key as \"Authorization: Bearer KEY\", found another one or none", "",
                   "invalid_api_key");
  }
  if (head.method != route->method && !(head.method == "HEAD" && route->method == "GET")) {
    throw ApiError(405,
                   fmt::format("expected {} for {}, found {}", route->method, route->path, valid_utf8(head.method)));
  }
  if (draining_ && route->method == "POST") {
    throw ApiError(503, "the server is stopping: ask another one, or try again later", "", "draining");
  }
  if (route->needs_model) model();
}

std::optional<HttpReply> Api::refuse(const HttpRequest& head) {
  const auto* route = route_of(head.path);
  try {
    check(route, head);
    return std::nullopt;
  } catch (const ApiError& error) {
    auto reply = error.reply();
    if (error.status() == 405) reply.fields.emplace_back("Allow", route->method);
    metrics_.answered(route == nullptr ? "other" : route->path, error.status());
    return reply;
  }
}

HttpReply Api::failure(int status, std::string_view message) {
  metrics_.answered("other", status);
  return ApiError(status, std::string(message)).reply();
}

void Api::handle(HttpRequest request, std::shared_ptr<HttpAnswer> answer) {
  const auto& route = *route_of(request.path);  // refuse() has looked
  if (route.kind == Route::Kind::at_once) return this->answer(route, request, answer, nullptr);
  auto strand = tasks_.strand();
  strand->post([this, &route, strand, request = std::move(request), answer = std::move(answer)] {
    this->answer(route, request, answer, strand);
  });
}

void Api::answer(const Route& route, const HttpRequest& request, const Answer& answer,
                 const std::shared_ptr<TaskStrand>& strand) {
  try {
    switch (route.kind) {
      case Route::Kind::at_once:
      case Route::Kind::in_strand:
        return reply(route, answer, (this->*route.reply)(request));
      case Route::Kind::segment:
        return segment(route, request, answer, strand);
      case Route::Kind::completion:
      case Route::Kind::chat:
        return complete(route, request, answer, strand);
    }
  } catch (const std::exception& error) {
    reply(route, answer, as_api_error(error).reply());
  }
}

void Api::reply(const Route& route, const Answer& answer, HttpReply reply) {
  metrics_.answered(route.path, reply.status);
  answer->reply(std::move(reply));
}

HttpReply Api::page(const HttpRequest&) const {
  return {.content_type = "text/html; charset=utf-8",
          .body = filled_template(web_assets::serve_page(), {{"style", std::string(web_assets::base_style()) +
                                                                           std::string(web_assets::serve_style())},
                                                             {"script", std::string(web_assets::serve_script())}}),
          .fields = {{"Content-Security-Policy",
                      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                      "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                     {"Cache-Control", "no-cache"}}};
}

HttpReply Api::health(const HttpRequest&) const {
  const bool loading = loaded_ == nullptr;
  auto reply = json_reply({{"status", draining_ ? "draining" : loading ? "loading" : "ok"}});
  if (draining_ || loading) reply.status = 503;
  return reply;
}

HttpReply Api::metrics(const HttpRequest&) const {
  ServerGauges gauges{.connections = connections_ ? connections_() : 0};
  if (const auto* loaded = loaded_.load()) {
    gauges.waiting = loaded->scheduler().waiting();
    gauges.at_work = loaded->scheduler().at_work();
  }
  return {.content_type = "text/plain; version=0.0.4", .body = metrics_.text(gauges)};
}

HttpReply Api::models(const HttpRequest& request) const {
  const auto& served = model();
  const auto& trained = served.model();
  const bool learned = trained.has_concepts() && trained.config.parser.rule == BoundaryRule::learned;
  json entry;
  entry["id"] = served.name();
  entry["object"] = "model";
  entry["created"] = served.created();
  entry["owned_by"] = "dlcm";
  entry["max_model_len"] = served.limits().tokens;
  entry["concepts"] = trained.has_concepts();
  entry["threshold"] = learned ? json(trained.threshold()) : json();
  entry["ratio"] = trained.has_concepts() ? json(trained.config.parser.ratio) : json();
  entry["ratio_adjustable"] = learned && !trained.boundary_quantiles.empty();
  if (request.path.size() > kModels.size()) {
    served.require_name(request.path.substr(kModels.size() + 1));
    return json_reply(entry);
  }
  return json_reply({{"object", "list"}, {"data", json::array({std::move(entry)})}});
}

HttpReply Api::tokenizer_info(const HttpRequest&) const {
  const auto& served = model();
  const auto& tokenizer = served.tokenizer();
  json info;
  info["eos_token"] = tokenizer.display(tokenizer.end_of_text());
  info["bos_token"] = tokenizer.display(tokenizer.begin_of_text());
  info["pad_token"] = info["eos_token"];  // none of its own
  info["chat_template"] = chat_template();
  info["vocab_size"] = tokenizer.vocabulary();
  info["model_max_length"] = served.limits().tokens;
  return json_reply(info);
}

HttpReply Api::tokenize(const HttpRequest& request) const {
  const auto& served = model();
  const auto asked = parse_tokenize(request.body);
  auto ids = served.ids_with_special_text(asked.text);
  if (asked.add_special_tokens) ids = served.tokenizer().add_specials(ids);
  return json_reply({{"count", ids.size()}, {"max_model_len", served.limits().tokens}, {"tokens", ids}});
}

HttpReply Api::detokenize(const HttpRequest& request) const {
  const auto& served = model();
  std::string text;
  for (const auto id : parse_detokenize(request.body, served.limits())) text += served.tokenizer().display(id);
  return json_reply({{"prompt", valid_utf8(text)}});
}

void Api::complete(const Route& route, const HttpRequest& request, const Answer& answer,
                   const std::shared_ptr<TaskStrand>& strand) {
  auto& served = model();
  const bool chat = route.kind == Route::Kind::chat;
  auto asked = chat ? parse_chat(request.body, served.limits()) : parse_completion(request.body, served.limits());
  const auto begin = Clock::now();
  auto done = [this, &route, begin](int status) {
    metrics_.answered(route.path, status);
    metrics_.request_seconds.add(std::chrono::duration<double>(Clock::now() - begin).count());
  };
  const auto completion =
      std::make_shared<CompletionAnswer>(std::move(asked), chat, served, answer, strand, std::move(done));
  try {
    if (!served.scheduler().submit(completion->generations(settings_.request_seconds))) {
      throw ApiError(503, "too many prompts are waiting: try again later", "", "queue_full");
    }
  } catch (const std::exception& error) {
    return completion->failed(as_api_error(error));
  }
  completion->begin();
}

void Api::segment(const Route& route, const HttpRequest& request, const Answer& answer,
                  const std::shared_ptr<TaskStrand>& strand) {
  auto& served = model();
  const auto segmented =
      std::make_shared<SegmentAnswer>(parse_segment(request.body), served, answer, strand,
                                      [this, &route](int status) { metrics_.answered(route.path, status); });
  try {
    if (!served.scheduler().submit({segmented->generation(settings_.request_seconds)})) {
      throw ApiError(503, "too many prompts are waiting: try again later", "", "queue_full");
    }
  } catch (const std::exception& error) {
    return segmented->refused(as_api_error(error));
  }
  segmented->begin();
}

}  // namespace dlcm
