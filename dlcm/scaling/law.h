// The scaling law (SPEC section 7): the loss of a model by its size, its training tokens, and where its parameters sit.
//
//   L(N, D, R, P) = E0 + A_tok / (N(1-P) + t_tok)^delta1 + A_con R^gamma / (N P + t_con)^delta2 + A_data / (D +
//   t_data)^alpha
//
// N non-embedding parameters, P the backbone's share of them, R tokens per concept, D training tokens, losses in nats
// per token. A plain transformer trained on the same data shares E0 and the data term and has one term of its own in N.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

namespace dlcm {

// What of a run the law reads. A plain transformer has no P and no R.
struct RunScale {
  bool baseline = false;
  double parameters = 0.0;      // N
  double backbone_share = 0.0;  // P
  double ratio = 1.0;           // R
};

// A / (x + t)^exponent
struct PowerTerm {
  double scale = 0.0;
  double offset = 0.0;
  double exponent = 0.0;

  double at(double x) const { return scale == 0.0 ? 0.0 : scale * std::pow(x + offset, -exponent); }
};

enum class LawForm {
  joint,          // as above
  size_and_data,  // without P and R: E0 + A_tok / (N + t_tok)^delta1 + A_data / (D + t_data)^alpha
};

struct ScalingLaw {
  LawForm form = LawForm::joint;
  double irreducible = 0.0;     // E0, nats
  PowerTerm token;              // A_tok, t_tok, delta1
  PowerTerm concepts;           // A_con, t_con, delta2; scale 0 in the form without P and R
  double ratio_exponent = 0.0;  // gamma
  PowerTerm data;               // A_data, t_data, alpha
  PowerTerm baseline;           // the plain transformer's term in N; scale 0 where none was fitted

  // The terms in N, P and R.
  double size_loss(const RunScale& run) const;
  // Nats per token after `tokens` training tokens at the stable learning rate.
  double loss(const RunScale& run, double tokens) const { return irreducible + size_loss(run) + data.at(tokens); }
  bool has_baseline() const { return baseline.scale > 0.0; }

  // Each parameter once, by the name it has in files and tables.
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("E0", self.irreducible);
    visit("A_tok", self.token.scale);
    visit("t_tok", self.token.offset);
    visit("delta1", self.token.exponent);
    visit("A_con", self.concepts.scale);
    visit("gamma", self.ratio_exponent);
    visit("t_con", self.concepts.offset);
    visit("delta2", self.concepts.exponent);
    visit("A_data", self.data.scale);
    visit("t_data", self.data.offset);
    visit("alpha", self.data.exponent);
    visit("A_llama", self.baseline.scale);
    visit("t_llama", self.baseline.offset);
    visit("delta_llama", self.baseline.exponent);
  }
};

inline constexpr size_t kLawParameters = 14;

// Of what the laws of a bootstrap say: the 5 % and the 95 % quantile.
struct Interval {
  double low = 0.0, high = 0.0;
};
// `values` are not empty.
Interval interval_of(std::vector<double> values);

nlohmann::ordered_json to_json(const ScalingLaw& law);
// Throws Error naming `where` and the parameter that is missing or no number.
ScalingLaw law_from_json(const nlohmann::ordered_json& json, std::string_view where);

}  // namespace dlcm
