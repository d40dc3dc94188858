// Prepares the entropy rule: its small language model and its threshold (SPEC section 1, "Boundary rules").
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/data/mixture.h"
#include "dlcm/model/language_model.h"

namespace dlcm {

// Makes parser.entropy of a run that goes on, or starts, from a checkpoint that one's: its weights come along, and with
// them their shape and threshold. A threshold of its own stands. Does nothing where either has another rule. Throws
// Error where `config` names another model than the checkpoint's.
void take_entropy_rule(Config& config, const Config& checkpoint);

// Fills what parser.entropy leaves open: the shape from parser.entropy.model and, where parser.entropy.threshold is 0,
// the threshold at which the first eval.tokens training tokens have parser.ratio tokens per concept. Does nothing for
// other rules. Throws Error where the model cannot serve: no llama, another tokenizer, vocabulary or rotary base, an
// attention window, a shorter context.
void resolve_entropy_rule(Config& config, const Mixture& data);

// Copies the weights of parser.entropy.model into a new model of that rule. Does nothing for other rules.
void load_entropy_model(LanguageModel& model, const Config& config);

}  // namespace dlcm
