// Models that programs up to 0.1.0 wrote, kept in tests/golden/models with what `idem transform` made of recording.npz
// there, and one of this version.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "engine/device/device.h"
#include "host/families/family.h"
#include "host/families/model_file.h"
#include "host/formats/npz.h"
#include "host/recordings/read_recording.h"
#include "host/study/transform.h"
#include "host/support/files.h"
#include "kernels/common/thread_pool.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

const std::filesystem::path kModels = std::filesystem::path(IDEM_SOURCE_DIR) / "tests/golden/models";

struct Sample {
  const char* file;
  const char* latents;
  const char* family;
};

class StoredModel : public testing::TestWithParam<Sample> {
 protected:
  // The recording's latents under a model, against those that were kept.
  void expect_latents(const std::filesystem::path& model) {
    ThreadPool pool(1);
    const auto device = make_cpu_device(1);
    transform_recording(read_model(model), model.string(), load_recording_file((kModels / "recording.npz").string()),
                        *device, pool, folder / "z.npz");
    const auto wanted = read_npz(kModels / GetParam().latents), found = read_npz(folder / "z.npz");
    ASSERT_EQ(found.size(), wanted.size());
    for (const auto& [name, array] : wanted) {
      ASSERT_EQ(found.at(name).shape, array.shape) << name;
      if (name != "encoder_mean" && name != "posterior_mean" && name != "encoder_log_var") continue;
      const auto a = found.at(name).as<float>(), b = array.as<float>();
      // Other processors sum in another order.
      for (std::size_t i = 0; i < a.size(); ++i)
        ASSERT_NEAR(a[i], b[i], 1e-5 * std::max(1.0f, std::abs(b[i]))) << name << i;
    }
  }

  TemporaryFolder folder;
};

TEST_P(StoredModel, GivesTheLatentsThatItsProgramGave) { expect_latents(kModels / GetParam().file); }

TEST_P(StoredModel, IsTheSameModelWhenItIsWrittenAnew) {
  const SavedModel before = read_model(kModels / GetParam().file);
  EXPECT_EQ(before.design->family().name(), GetParam().family);
  write_model(folder / "anew.safetensors", before);
  const SavedModel after = read_model(folder / "anew.safetensors");
  EXPECT_EQ(after.provenance, before.provenance);
  EXPECT_EQ(after.neuron_ids, before.neuron_ids);
  EXPECT_EQ(after.neuron_ids, (std::vector<std::int64_t>{11, 12, 15, 17, 20}));
  ASSERT_EQ(after.parameters.size(), before.parameters.size());
  for (const auto& [name, tensor] : before.parameters)
    EXPECT_EQ(after.parameters.at(name).values, tensor.values) << name;
  expect_latents(folder / "anew.safetensors");
}

INSTANTIATE_TEST_SUITE_P(, StoredModel,
                         testing::Values(Sample{"vae_v1.idem", "vae_latents.npz", "vae"},
                                         Sample{"cebra_v2.idem", "cebra_latents.npz", "cebra"},
                                         Sample{"gcl_v2.idem", "gcl_latents.npz", "gcl"},
                                         Sample{"vae_v3.safetensors", "vae_latents.npz", "vae"}),
                         [](const auto& parameter) {
                           const std::string file = parameter.param.file;
                           return file.substr(0, file.find('.'));
                         });

}  // namespace
}  // namespace idem
