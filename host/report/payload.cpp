#include "host/report/payload.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "host/report/loss_parts.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

static_assert(std::endian::native == std::endian::little, "the page's script reads little-endian arrays");

class ArrayPool {
 public:
  Json f4(const std::vector<float>& values) {
    return add("f4", values.data(), values.size() * sizeof(float), values.size());
  }
  Json u1(const std::vector<std::uint8_t>& values) { return add("u1", values.data(), values.size(), values.size()); }
  Json i2(const std::vector<float>& values) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const float value : values)
      if (std::isfinite(value)) low = std::min<double>(low, value), high = std::max<double>(high, value);
    if (!(low <= high)) low = high = 0;
    const double step = high > low ? (high - low) / 65534 : 1, origin = low + 32767 * step;
    std::vector<std::int16_t> codes;
    codes.reserve(values.size());
    for (const float value : values)
      codes.push_back(std::isfinite(value) ? static_cast<std::int16_t>(
                                                 std::clamp<long>(std::lround((value - origin) / step), -32767, 32767))
                                           : std::int16_t{-32768});
    Json reference = add("i2", codes.data(), codes.size() * sizeof(std::int16_t), codes.size());
    reference["a"] = origin;
    reference["b"] = step;
    return reference;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  Json add(const char* type, const void* data, std::size_t n_bytes, std::size_t n) {
    const std::size_t offset = bytes_.size();
    if (n_bytes) bytes_.append(static_cast<const char*>(data), n_bytes);
    bytes_.append((4 - bytes_.size() % 4) % 4, '\0');
    return Json{{"o", offset}, {"n", n}, {"t", type}};
  }
  std::string bytes_;
};

std::string hex(Rgb colour) { return fmt::format("#{:06x}", colour); }

Json colouring_json(const Colouring& colouring) {
  Json groups = Json::array();
  for (const auto& group : colouring.groups) {
    Json stops = Json::array();
    for (const Rgb stop : group.stops) stops.push_back(hex(stop));
    groups.push_back({{"name", group.name}, {"stops", stops}});
  }
  return {{"name", colouring.value_name},
          {"unit", colouring.unit},
          {"low", colouring.low},
          {"high", colouring.high},
          {"groups", groups}};
}

// Runs on the same split of the same recording share their bins' labels and times: each distinct set is stored once.
template <class Make>
std::size_t shared_index(std::vector<std::string>& keys, Json& list, const std::string& key, Make make) {
  const auto found = std::find(keys.begin(), keys.end(), key);
  if (found != keys.end()) return to_size(found - keys.begin());
  keys.push_back(key);
  list.push_back(make());
  return keys.size() - 1;
}

template <class T>
std::string as_bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

constexpr std::size_t max_epochs = 250;

// The panels of a model's loss parts, alike for all its runs.
Json panels_json(const StudyResult& study, const RunResult& run) {
  std::vector<const RunResult*> of_model;
  for (const RunResult& other : study.runs)
    if (other.subject == run.subject && other.model == run.model) of_model.push_back(&other);
  Json panels = Json::array();
  for (const LossPanel& panel : loss_panels(of_model)) {
    Json parts = Json::array();
    for (const auto& part : panel.parts)
      parts.push_back({{"key", part.key}, {"name", part.name}, {"colour", hex(part.colour)}});
    panels.push_back({{"title", panel.title},
                      {"low", panel.low},
                      {"high", panel.high},
                      {"log", panel.logarithmic},
                      {"parts", parts}});
  }
  return Json{{"panels", panels}};
}

// What the run's log says of those parts.
void add_epochs(const RunResult& run, const Json& model, ArrayPool& pool, Json& json) {
  std::vector<float> epochs;
  auto indices = evenly_thinned(run.epochs.size(), max_epochs);
  if (indices.back() + 1 != run.epochs.size()) indices.push_back(run.epochs.size() - 1);
  for (const std::size_t index : indices) epochs.push_back(static_cast<float>(run.epochs[index].epoch));
  json["epochs"] = pool.f4(epochs);
  for (const Json& panel : model["panels"])
    for (const Json& part : panel["parts"]) {
      const std::string key = part["key"];
      std::vector<float> train, valid;
      for (const std::size_t index : indices) {
        train.push_back(static_cast<float>(loss_part(run.epochs[index].train, key)));
        valid.push_back(static_cast<float>(loss_part(run.epochs[index].valid, key)));
      }
      json["parts"][key] = Json::array({pool.f4(train), pool.f4(valid)});
    }
  if (const double epoch = number_at(run.training, {"kept_epoch"}, run.name); std::isfinite(epoch))
    json["kept_epoch"] = epoch;
}

}  // namespace

std::int32_t interactive_points_per_split(std::size_t n_runs) {
  return static_cast<std::int32_t>(
      std::clamp<std::size_t>(60000 / std::max<std::size_t>(n_runs, 1), 200, max_view_points));
}

std::string make_report_payload(const StudyResult& study, const std::vector<RunView>& views) {
  ArrayPool pool;
  Json runs = Json::array(), sets = Json::array(), tracks = Json::array(), models = Json::array();
  std::vector<std::string> set_keys, track_keys, model_keys;
  const auto per_split = to_size(interactive_points_per_split(study.runs.size()));
  for (std::size_t i = 0; i < study.runs.size(); ++i) {
    const RunResult& run = study.runs[i];
    const RunView& view = views[i];
    // A seed has 64 bits, a number of the script 53.
    Json json{{"name", run.name},   {"subject", run.subject},
              {"model", run.model}, {"seed", std::to_string(run.seed)},
              {"split", run.split}, {"counts", name_of(run.family->unit())}};

    // Points of the three splits, one after the other.
    std::vector<float> time_s, value;
    std::vector<std::uint8_t> group;
    const auto n_latents = to_size(view.n_latents);
    std::vector<std::vector<float>> encoder(n_latents), posterior(n_latents);
    Json kept = Json::array(), of = Json::array();
    for (const ViewPoints& points : view.splits) {
      const auto indices = evenly_thinned(points.size(), per_split);
      kept.push_back(indices.size());
      of.push_back(points.n_of);
      for (const std::size_t point : indices) {
        time_s.push_back(points.time_s[point]);
        value.push_back(points.value[point]);
        group.push_back(points.group[point]);
        for (std::size_t latent = 0; latent < n_latents; ++latent) {
          if (view.has_encoder) encoder[latent].push_back(points.encoder_mean[point * n_latents + latent]);
          if (view.has_posterior) posterior[latent].push_back(points.posterior_mean[point * n_latents + latent]);
        }
      }
    }
    const Json colouring = colouring_json(view.colouring);
    json["set"] = shared_index(
        set_keys, sets,
        colouring.dump() + kept.dump() + of.dump() + as_bytes(time_s) + as_bytes(value) + as_bytes(group), [&] {
          return Json{{"kept", kept},
                      {"of", of},
                      {"time", pool.f4(time_s)},
                      {"value", pool.i2(value)},
                      {"group", pool.u1(group)},
                      {"colouring", colouring}};
        });
    const auto add = [&](const char* name, const std::vector<std::vector<float>>& latents) {
      json[name] = Json::array();
      for (const auto& latent : latents) json[name].push_back(pool.i2(latent));
    };
    if (view.has_encoder) add("encoder", encoder);
    if (view.has_posterior) add("posterior", posterior);

    if (const ViewTrack& track = view.track; !track.time_s.empty()) {
      json["track"] = shared_index(
          track_keys, tracks, as_bytes(track.time_s) + as_bytes(track.joined_s) + as_bytes(track.true_position), [&] {
            return Json{{"of", track.n_of},
                        {"joined", pool.f4(track.joined_s)},
                        {"time", pool.f4(track.time_s)},
                        {"measured", pool.i2(track.true_position)}};
          });
      json["decoded"] = pool.i2(track.decoded_position);
    }

    json["of_model"] =
        shared_index(model_keys, models, run.subject + "\n" + run.model, [&] { return panels_json(study, run); });
    if (!run.epochs.empty()) add_epochs(run, models[json["of_model"].get<std::size_t>()], pool, json);
    runs.push_back(std::move(json));
  }
  std::string text = Json{{"runs", runs}, {"sets", sets}, {"tracks", tracks}, {"models", models}}.dump(
      -1, ' ', false, Json::error_handler_t::replace);
  text.append((4 - text.size() % 4) % 4, ' ');
  const auto n_text = static_cast<std::uint32_t>(text.size());
  return std::string(reinterpret_cast<const char*>(&n_text), sizeof n_text) + text + pool.bytes();
}

std::string gzip(std::string_view bytes) {
  z_stream stream{};
  constexpr int gzip_window = 15 + 16;
  if (deflateInit2(&stream, 6, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("zlib: no memory to compress the report");
  std::string packed(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int end = deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  if (end != Z_STREAM_END) throw std::runtime_error("zlib: the report could not be compressed");
  return packed;
}

std::string base64(std::string_view bytes) {
  static constexpr char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) text += i + j <= bytes.size() ? letters[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

}  // namespace idem
