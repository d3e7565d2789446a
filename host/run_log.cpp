#include "host/run_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "host/errors.h"

namespace idem {

using nlohmann::json;

json to_json(const LossParts& parts) {
  return {{"loss", parts.loss},
          {"reconstruction_encoder", parts.reconstruction_encoder},
          {"reconstruction_posterior", parts.reconstruction_posterior},
          {"kl_encoder", parts.kl_encoder},
          {"kl_posterior", parts.kl_posterior},
          {"skew", parts.skew},
          {"alpha", parts.alpha},
          {"alpha_zero_fraction", parts.alpha_zero_fraction},
          {"alpha_one_fraction", parts.alpha_one_fraction}};
}

RunLog::RunLog(const std::filesystem::path& path, bool append) : path_(path) {
  file_ = std::fopen(path.c_str(), append ? "a+b" : "wb");
  if (!file_) throw DataError(fmt::format("{}: cannot be written ({}); choose another --out", path.string(), std::strerror(errno)));
  if (!append || std::fseek(file_, -1, SEEK_END) != 0) return;  // cannot seek: the file is empty
  if (std::fgetc(file_) != '\n') std::fputc('\n', file_);
}

RunLog::~RunLog() { std::fclose(file_); }

void RunLog::message(const std::string& event, const std::string& text) { write({{"event", event}, {"message", text}}); }

void RunLog::epoch(const std::string& run, const EpochRecord& record) {
  write({{"event", "epoch"},
         {"run", run},
         {"epoch", record.epoch},
         {"train", to_json(record.train)},
         {"valid", to_json(record.valid)},
         {"learning_rate", record.learning_rate},
         {"best", record.is_best}});
}

void RunLog::epoch(const std::string& run, const GclRecord& record) {
  const auto of = [](const GclLoss& loss) { return json{{"loss", loss.loss}, {"accuracy", loss.accuracy}}; };
  write({{"event", "epoch"}, {"run", run}, {"epoch", record.epoch}, {"train", of(record.train)}, {"valid", of(record.valid)}, {"best", record.is_best}});
}

void RunLog::steps(const std::string& run, const CebraRecord& record) {
  const auto of = [](const CebraLoss& loss) {
    json parts = {{"loss", loss.loss}, {"alignment", loss.alignment}, {"uniformity", loss.uniformity}};
    if (std::isfinite(loss.behaviour_alignment))
      parts.update({{"behaviour_alignment", loss.behaviour_alignment}, {"behaviour_uniformity", loss.behaviour_uniformity}});
    return parts;
  };
  write({{"event", "steps"},
         {"run", run},
         {"step", record.step},
         {"train", of(record.train)},
         {"valid", of(record.valid)},
         {"temperature", record.temperature}});
}

void RunLog::write(const json& event) {
  const std::string line = event.dump() + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)
    throw DataError(fmt::format("{}: cannot be written ({}); is the disk full?", path_.string(), std::strerror(errno)));
}

}  // namespace idem
