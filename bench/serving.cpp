#include "bench/serving.h"

#include "dlcm/infer/exported_model.h"
#include "dlcm/serve/http_client.h"
#include "dlcm/serve/server.h"
#include "dlcm/util/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <random>
#include <thread>

namespace dlcm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

// What one client saw.
struct Client {
  std::vector<double> first_token_seconds, token_seconds;
  std::exception_ptr error;
};

void stream_completion(uint16_t port, const std::string& body, int64_t tokens, Client& client) {
  HttpClient http(port, 600.0);
  auto last = Clock::now();
  http.request("POST", "/v1/completions", body);
  const auto head = http.stream_head();
  if (head.status != 200) throw RuntimeFailure("the server answered with status {}", head.status);
  int64_t events = 0;
  while (const auto event = http.event()) {
    const auto now = Clock::now();
    if (*event == "[DONE]") break;
    const auto frame = nlohmann::json::parse(*event);
    if (frame.contains("error")) throw RuntimeFailure("the server failed: {}", *event);
    if (!frame.at("choices").at(0).at("finish_reason").is_null()) continue;  // it brings no token
    (events++ == 0 ? client.first_token_seconds : client.token_seconds).push_back(seconds_between(last, now));
    last = now;
  }
  if (events != tokens) throw RuntimeFailure("expected {} tokens from the server, found {}", tokens, events);
}

// Log-probabilities are asked for so that each token is an event of its own, also one inside a character.
std::string body_of(std::mt19937& random, int64_t vocabulary, const ServingBench& bench) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < bench.prompt; ++i)
    ids.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(vocabulary)));
  return nlohmann::json{{"prompt", ids}, {"max_tokens", bench.tokens}, {"stream", true},
                        {"logprobs", 0}, {"ignore_eos", true},         {"seed", random()}}
      .dump();
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

void add_quantiles(nlohmann::json& line, const std::string& name, const std::vector<double>& values) {
  for (const auto& [suffix, share] : {std::pair{"_p50", 0.5}, std::pair{"_p95", 0.95}, std::pair{"_p99", 0.99}}) {
    line[name + suffix] = quantile(values, share);
  }
}

nlohmann::json bench_streams(Server& server, const ServingBench& bench, int64_t streams, std::mt19937& random) {
  std::vector<double> first_token_seconds, token_seconds, rates;
  const int64_t read = server.metrics().read_tokens, concepts = server.metrics().concepts;
  for (int round = 0; round <= bench.repeats; ++round) {
    std::vector<Client> clients(static_cast<size_t>(streams));
    std::vector<std::string> bodies;
    for (int64_t i = 0; i < streams; ++i) {
      bodies.push_back(body_of(random, server.served().tokenizer().vocabulary(), bench));
    }
    const auto begin = Clock::now();
    std::vector<std::thread> threads;
    for (size_t i = 0; i < clients.size(); ++i) {
      threads.emplace_back([&, i] {
        try {
          stream_completion(server.port(), bodies[i], bench.tokens, clients[i]);
        } catch (...) {
          clients[i].error = std::current_exception();
        }
      });
    }
    for (auto& thread : threads) thread.join();
    const double seconds = seconds_between(begin, Clock::now());
    for (const auto& client : clients) {
      if (client.error) std::rethrow_exception(client.error);
    }
    if (round == 0) continue;  // to warm up
    rates.push_back(static_cast<double>(streams * bench.tokens) / seconds);
    for (const auto& client : clients) {
      first_token_seconds.insert(first_token_seconds.end(), client.first_token_seconds.begin(),
                                 client.first_token_seconds.end());
      token_seconds.insert(token_seconds.end(), client.token_seconds.begin(), client.token_seconds.end());
    }
  }
  nlohmann::json line{{"model", server.served().name()},
                      {"weights", name_of(server.served().model().format)},
                      {"streams", streams},
                      {"prompt", bench.prompt},
                      {"tokens", bench.tokens},
                      {"tokens_per_second", quantile(rates, 0.5)},
                      {"fastest", quantile(rates, 1.0)},
                      {"slowest", quantile(rates, 0.0)}};
  add_quantiles(line, "first_token_seconds", first_token_seconds);
  add_quantiles(line, "token_seconds", token_seconds);
  const auto opened = server.metrics().concepts - concepts;
  line["tokens_per_concept"] =
      opened == 0
          ? nlohmann::json()
          : nlohmann::json(static_cast<double>(server.metrics().read_tokens - read) / static_cast<double>(opened));
  return line;
}

}  // namespace

std::vector<nlohmann::json> bench_serving(const ServingBench& bench) {
  std::vector<nlohmann::json> lines;
  for (const auto& model : bench.models) {
    ServerSettings settings;
    settings.model = model;
    settings.port = 0;
    settings.engine = {.threads = bench.threads, .cache = bench.cache};
    Server server(settings);
    server.load();
    std::mt19937 random(1);
    double first_rate = 0.0;
    for (const auto streams : bench.streams) {
      auto line = bench_streams(server, bench, streams, random);
      const auto rate = line.at("tokens_per_second").get<double>();
      if (first_rate == 0.0) first_rate = rate;
      line["gain"] = rate / first_rate;
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

std::string serving_table(const std::vector<nlohmann::json>& lines) {
  auto table = fmt::format("{:<24} {:>9} {:>8} {:>9} {:>17} {:>6} {:>20} {:>26} {:>15}\n", "model", "weights",
                           "streams", "tokens/s", "slowest, fastest", "gain", "first token p50, p95",
                           "token ms p50, p95, p99", "tokens/concept");
  for (const auto& line : lines) {
    const auto number = [&](const char* key) { return line.at(key).get<double>(); };
    const auto milliseconds = [&](const char* key) { return number(key) * 1000.0; };
    const auto& ratio = line.at("tokens_per_concept");
    table += fmt::format(
        "{:<24} {:>9} {:>8} {:>9.1f} {:>8.1f} {:>8.1f} {:>6.2f} {:>9.0f} {:>7.0f} ms {:>8.1f} {:>8.1f} {:>8.1f} "
        "{:>15}\n",
        line.at("model").get<std::string>(), line.at("weights").get<std::string>(), line.at("streams").get<int64_t>(),
        number("tokens_per_second"), number("slowest"), number("fastest"), number("gain"),
        milliseconds("first_token_seconds_p50"), milliseconds("first_token_seconds_p95"),
        milliseconds("token_seconds_p50"), milliseconds("token_seconds_p95"), milliseconds("token_seconds_p99"),
        ratio.is_null() ? "-" : fmt::format("{:.2f}", ratio.get<double>()));
  }
  return table;
}

}  // namespace dlcm
