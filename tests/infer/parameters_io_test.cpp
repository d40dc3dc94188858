#include "dlcm/infer/parameters_io.h"

#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

std::shared_ptr<LanguageModel> model_with_seed(Config config, int64_t seed) {
  config.train.seed = seed;
  return make_model(config);
}

std::string refusal(const SafeTensors& content) {
  const auto model = make_model(test::tiny_config(ModelKind::dlcm));
  const auto before = model->head().clone();
  const auto message = test::message_of<Error>([&] { load_parameters(*model, content, "some file"); });
  EXPECT_TRUE(at::equal(model->head(), before)) << "the model was changed";
  EXPECT_NE(message.find("some file"), std::string::npos) << message;
  return message;
}

SafeTensors tiny_content() {
  auto content = save_parameters(*model_with_seed(test::tiny_config(ModelKind::dlcm), 5));
  for (auto& [name, tensor] : content.tensors) tensor = tensor.clone();
  return content;
}

TEST(ParametersIo, RoundTripThroughAFileIsBitEqual) {
  for (const auto kind : {ModelKind::dlcm, ModelKind::llama}) {
    const auto config = test::tiny_config(kind);
    const auto from = model_with_seed(config, 1), to = model_with_seed(config, 2);
    const test::TemporaryDirectory directory;
    save_safetensors(directory / "weights", save_parameters(*from));
    ASSERT_FALSE(at::equal(from->head(), to->head()));
    load_parameters(*to, load_safetensors(directory / "weights"), "weights");
    for (const auto& entry : from->named_parameters()) {
      EXPECT_TRUE(at::equal(entry.value(), to->named_parameters()[entry.key()])) << entry.key();
    }
  }
}

TEST(ParametersIo, BuffersAreSavedToo) {
  auto config = test::tiny_config(ModelKind::dlcm);
  config.parser.rule = BoundaryRule::whitespace;
  const auto from = test::tiny_model(config).model, to = make_model(config);
  const auto table = from->named_buffers()["parser.opens_word"];
  ASSERT_GT(table.sum().item<int64_t>(), 0);
  load_parameters(*to, save_parameters(*from), "memory");
  EXPECT_TRUE(at::equal(to->named_buffers()["parser.opens_word"], table));
}

TEST(ParametersIo, LoadedParametersStillLearn) {
  const auto model = make_model(test::tiny_config(ModelKind::dlcm));
  load_parameters(*model, tiny_content(), "memory");
  for (const auto& parameter : model->parameters()) EXPECT_TRUE(parameter.requires_grad());
}

TEST(ParametersIo, MissingTensorIsNamed) {
  auto content = tiny_content();
  content.tensors.erase("pooling.up.weight");
  const auto message = refusal(content);
  EXPECT_NE(message.find("without pooling.up.weight"), std::string::npos) << message;
}

TEST(ParametersIo, UnknownTensorIsNamed) {
  auto content = tiny_content();
  content.tensors["pooling.down.weight"] = at::zeros({2});
  const auto message = refusal(content);
  EXPECT_NE(message.find("unknown pooling.down.weight"), std::string::npos) << message;
}

TEST(ParametersIo, WrongShapeIsNamed) {
  auto content = tiny_content();
  content.tensors["head.weight"] = at::zeros({7, 16});
  const auto message = refusal(content);
  EXPECT_NE(message.find("head.weight is [7, 16] instead of [258, 16]"), std::string::npos) << message;
}

TEST(ParametersIo, WrongTypeIsNamed) {
  auto content = tiny_content();
  content.tensors["head.weight"] = content.tensors["head.weight"].to(at::kLong);
  const auto message = refusal(content);
  EXPECT_NE(message.find("head.weight has type Long"), std::string::npos) << message;
}

TEST(ParametersIo, AnotherModelsWeightsAreOneSentence) {
  const auto content = save_parameters(*make_model(test::tiny_config(ModelKind::llama)));
  const auto message = refusal(content);
  EXPECT_NE(message.find("more"), std::string::npos) << message;
  EXPECT_LT(message.size(), 500u) << message;
}

}  // namespace
}  // namespace dlcm
