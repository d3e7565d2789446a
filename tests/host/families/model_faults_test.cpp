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
  bool is_old = false;  // in the container of older versions
};
void PrintTo(const Kind& kind, std::ostream* to) { *to << kind.name; }

class CraftedModel : public testing::TestWithParam<Kind> {
 protected:
  // A file of the kind with this header.
  static std::string with_header(const std::string& bytes, const std::string& header) {
    const std::string changed = saved_models::with_header(bytes, header);
    return GetParam().is_old ? saved_models::in_old_container(changed) : changed;
  }
  // "" where the model was taken and applied, else why not; anything but a DataError fails the test.
  std::string apply(const std::string& bytes) {
    write_file_bytes(folder / "model.safetensors", bytes);
    try {
      transform_recording(read_model(folder / "model.safetensors"), "model.safetensors", recording(), *device, pool,
                          folder / "latents.npz");
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }
  std::string bytes() {
    write_model(folder / "model.safetensors", GetParam().make());
    return read_file_bytes(folder / "model.safetensors");
  }

  TemporaryFolder folder;
  std::unique_ptr<Device> device = make_cpu_device(1);
  ThreadPool pool{1};
};

TEST_P(CraftedModel, IsAppliedOrRefusedInOneLineWhateverItsHeaderSays) {
  const std::string whole = bytes();
  ASSERT_EQ(apply(with_header(whole, saved_models::header_of(whole))), "");
  int n_refused = 0, n = 0;
  for_each_mutation(nlohmann::ordered_json::parse(saved_models::header_of(whole)),
                    [&](const std::string& where, const std::string& header) {
                      SCOPED_TRACE(where);
                      std::string message;
                      ASSERT_NO_THROW(message = apply(with_header(whole, header)));
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
    EXPECT_NE(apply(with_header(whole, header.dump())).find("cannot be understood ("), std::string::npos);
  };
  refused([](auto& header) { header["design"]["neurons"] = 4; });
  refused([](auto& header) { header["tensors"].push_back(header["tensors"][0]); });
  refused([](auto& header) { header["tensors"][1] = header["tensors"][0]; });
  refused([](auto& header) { std::swap(header["tensors"][0], header["tensors"].back()["name"]); });
  refused([](auto& header) { header["tensors"][0]["name"] = "other"; });
  refused([](auto& header) { header["tensors"][0]["shape"] = {1}; });
  refused([](auto& header) { header["bin_width_s"] = -0.025; });
  if (GetParam().is_old) return;
  // What only the container says otherwise.
  const Safetensors file = parse_safetensors(whole);
  const auto other = [&](const std::function<void(Safetensors&)>& change) {
    Safetensors changed = file;
    change(changed);
    EXPECT_NE(apply(safetensors_bytes(changed))
                  .find("cannot be understood (its list of tensors is not that of the safetensors header"),
              std::string::npos);
  };
  other([](auto& content) { content.tensors[0].name = "other"; });
  other([](auto& content) { content.tensors[0].shape.push_back(1); });
  other([](auto& content) { content.tensors.push_back({"other", {0}}); });
  other([](auto& content) { std::swap(content.tensors[0], content.tensors[1]); });
  const std::string longer(file.values.size() + 4, '\0');
  auto tensors = file.tensors;
  tensors.push_back({"other", {1}});
  auto header = nlohmann::json::parse(saved_models::header_of(whole));
  header["tensors"].push_back({{"name", "other"}, {"shape", {1}}});
  EXPECT_NE(apply(saved_models::file_of(header.dump(), longer, tensors)).find("tensors, the design has"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(, CraftedModel,
                         testing::Values(Kind{"mlps", saved_models::of_mlps}, Kind{"flow", saved_models::of_a_flow},
                                         Kind{"temporal_convolution", saved_models::of_a_temporal_convolution},
                                         Kind{"encoder_that_sees_labels", saved_models::of_an_encoder_that_sees_labels},
                                         Kind{"without_labels", saved_models::without_labels},
                                         Kind{"cebra", saved_models::of_cebra}, Kind{"gcl", saved_models::of_gcl},
                                         Kind{"mlps_of_an_older_version", saved_models::of_mlps, true}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST(CraftedModels, OfOthersAreRefused) {
  const std::filesystem::path path = std::filesystem::path(IDEM_SHARED_DIR) / "cases" / "hostile" / "model_19.idem";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not on this machine";
  EXPECT_THROW(read_model(path), DataError);
}

}  // namespace
}  // namespace idem
