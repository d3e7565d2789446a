// Crafted models: every value of a header changed, with a checksum that is right.
#include <gtest/gtest.h>

#include "engine/device/device.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/families/model_file.h"
#include "host/study/transform.h"
#include "kernels/common/thread_pool.h"
#include "tests/support/json_mutations.h"
#include "tests/support/saved_models.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

Recording recording() {
  Recording made{.subject = "buddy", .n_times = 40, .n_neurons = 3, .bin_width_s = 0.025};
  for (int i = 0; i < 120; ++i) made.counts.push_back(static_cast<float>(i * i % 5));
  LabelColumn position, speed;
  position.name = "position";
  speed.name = "speed";
  for (int time = 0; time < 40; ++time) {
    made.time_s.push_back(0.025 * time);
    position.values.push_back(time % 17);
    speed.values.push_back(time % 7);
  }
  made.segments = {{0, 40}};
  made.labels = {position, speed};
  return made;
}

struct Kind {
  const char* name;
  SavedModel (*make)();
};
void PrintTo(const Kind& kind, std::ostream* to) { *to << kind.name; }

class CraftedModel : public testing::TestWithParam<Kind> {
 protected:
  // "" where the model was taken and applied, else why not; anything but a DataError fails the test.
  std::string apply(const std::string& bytes) {
    write_file_bytes(folder / "model.idem", bytes);
    try {
      transform_recording(read_model(folder / "model.idem"), "model.idem", recording(), *device, pool, folder / "latents.npz");
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }
  std::string bytes() {
    write_model(folder / "model.idem", GetParam().make());
    return read_file_bytes(folder / "model.idem");
  }

  TemporaryFolder folder;
  std::unique_ptr<Device> device = make_cpu_device(1);
  ThreadPool pool{1};
};

TEST_P(CraftedModel, IsAppliedOrRefusedInOneLineWhateverItsHeaderSays) {
  const std::string whole = bytes();
  ASSERT_EQ(apply(whole), "");
  int n_refused = 0, n = 0;
  for_each_mutation(nlohmann::ordered_json::parse(saved_models::header_of(whole)), [&](const std::string& where, const std::string& header) {
    SCOPED_TRACE(where);
    std::string message;
    ASSERT_NO_THROW(message = apply(saved_models::with_header(whole, header)));
    EXPECT_EQ(message.find_first_of("\n\r"), std::string::npos) << message;
    EXPECT_EQ(message.find("json.exception"), std::string::npos) << message;
    n_refused += !message.empty();
    ++n;
  });
  EXPECT_GT(n, 1000);
  EXPECT_GT(n_refused, n / 2);
}

TEST_P(CraftedModel, ThatHoldsOtherTensorsThanItsDesignIsRefused) {
  const std::string whole = bytes();
  const auto refused = [&](const std::function<void(nlohmann::json&)>& change) {
    auto header = nlohmann::json::parse(saved_models::header_of(whole));
    change(header);
    EXPECT_NE(apply(saved_models::with_header(whole, header.dump())).find("cannot be understood ("), std::string::npos);
  };
  refused([](auto& header) { header["design"]["neurons"] = 4; });
  refused([](auto& header) { header["tensors"].push_back(header["tensors"][0]); });
  refused([](auto& header) { header["tensors"][1] = header["tensors"][0]; });
  refused([](auto& header) { std::swap(header["tensors"][0], header["tensors"].back()["name"]); });
  refused([](auto& header) { header["tensors"][0]["name"] = "other"; });
  refused([](auto& header) { header["tensors"][0]["shape"] = {1}; });
  refused([](auto& header) { header["bin_width_s"] = -0.025; });
  std::string longer = whole;
  longer.insert(longer.size() - 4, 4, '\0');
  saved_models::put_checksum(longer);
  EXPECT_NE(apply(longer).find("bytes of tensors"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(, CraftedModel,
                         testing::Values(Kind{"mlps", saved_models::of_mlps}, Kind{"flow", saved_models::of_a_flow},
                                         Kind{"temporal_convolution", saved_models::of_a_temporal_convolution},
                                         Kind{"encoder_that_sees_labels", saved_models::of_an_encoder_that_sees_labels},
                                         Kind{"without_labels", saved_models::without_labels}, Kind{"cebra", saved_models::of_cebra},
                                         Kind{"gcl", saved_models::of_gcl}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST(CraftedModels, OfOthersAreRefused) {
  const std::filesystem::path path = std::filesystem::path(IDEM_SHARED_DIR) / "cases" / "hostile" / "model_19.idem";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not on this machine";
  EXPECT_THROW(read_model(path), DataError);
}

}  // namespace
}  // namespace idem
