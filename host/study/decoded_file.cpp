#include "host/study/decoded_file.h"

#include "host/formats/npz.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

void write_decoded(const std::filesystem::path& file, const Recording& recording, const Split& split,
                   const TestReadings& decoded) {
  std::map<std::string, NumpyArray> arrays;
  const auto n_rows = static_cast<std::int64_t>(split.test.size());
  arrays["bins"] = NumpyArray::of<std::int32_t>({n_rows}, split.test);
  std::vector<std::string> names;
  for (const auto& label : recording.labels) names.push_back(label.name);
  arrays["label_names"] = NumpyArray::of_texts(names);
  for (const auto& [reading, values] : decoded)
    if (!values.empty())
      arrays[reading] = NumpyArray::of<float>({n_rows, std::ssize(recording.labels)},
                                              std::vector<float>(values.begin(), values.end()));
  write_npz(file, arrays);
}

TestReadings read_decoded(const std::filesystem::path& file, const Recording& recording, const Split& split) {
  TestReadings decoded;
  if (!std::filesystem::exists(file)) return decoded;
  const auto arrays = read_npz(file);
  const auto bins = arrays.find("bins");
  const std::size_t n_values = split.test.size() * recording.labels.size();
  for (const auto& [name, array] : arrays) {
    if (name == "bins" || name == "label_names") continue;
    const std::vector<float> values = array.as<float>();
    if (bins == arrays.end() || bins->second.as<std::int32_t>() != split.test || values.size() != n_values)
      throw DataError(file.string() +
                      ": is of other test bins than this run's; remove its folder and --resume to train it again");
    decoded[name].assign(values.begin(), values.end());
  }
  return decoded;
}

}  // namespace idem
