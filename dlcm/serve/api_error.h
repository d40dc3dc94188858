// What the server's API refuses, in the form of OpenAI's.
#pragma once

#include "dlcm/serve/http_message.h"
#include "dlcm/util/error.h"

#include <exception>
#include <string>
#include <string_view>

namespace dlcm {

// A request that cannot be answered. The message is one sentence; `param` names the field, empty where there is none.
class ApiError : public Error {
 public:
  ApiError(int status, std::string message, std::string param = "", std::string code = "");

  int status() const { return status_; }
  // {"error": {"message", "type", "param", "code"}}; type follows from the status.
  std::string json() const;
  HttpReply reply() const;

 private:
  int status_;
  std::string param_, code_;
};

// What an error that was not thrown for a client means to one: what the libraries below refuse is the client's doing
// (400), the rest is the server's (500).
ApiError as_api_error(const std::exception& error);

// 400, the most frequent one.
template <typename... Arguments>
ApiError bad_request(std::string_view param, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  return {400, fmt::format(text, std::forward<Arguments>(arguments)...), std::string(param)};
}

}  // namespace dlcm
