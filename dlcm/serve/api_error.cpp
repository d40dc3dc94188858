#include "dlcm/serve/api_error.h"

#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 503:
      return "service_unavailable";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

nlohmann::json or_null(const std::string& text) { return text.empty() ? nlohmann::json() : nlohmann::json(text); }

}  // namespace

ApiError::ApiError(int status, std::string message, std::string param, std::string code)
    : Error("{}", message), status_(status), param_(std::move(param)), code_(std::move(code)) {}

std::string ApiError::json() const {
  nlohmann::ordered_json error;
  error["message"] = valid_utf8(what());
  error["type"] = type_of(status_);
  error["param"] = or_null(param_);
  error["code"] = or_null(code_);
  return nlohmann::ordered_json{{"error", std::move(error)}}.dump();
}

ApiError as_api_error(const std::exception& error) {
  if (const auto* known = dynamic_cast<const ApiError*>(&error)) return *known;
  if (dynamic_cast<const RuntimeFailure*>(&error) == nullptr && dynamic_cast<const Error*>(&error) != nullptr) {
    return {400, error.what()};
  }
  return {500, fmt::format("the server failed: {}", error.what())};
}

HttpReply ApiError::reply() const {
  HttpReply reply{.status = status_, .body = json()};
  if (status_ == 503) reply.fields.emplace_back("Retry-After", "1");
  if (status_ == 401) reply.fields.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

}  // namespace dlcm
