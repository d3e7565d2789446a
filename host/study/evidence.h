// evidence.h - which of a study's models and baselines decode best from spikes alone, and how sure that is.
#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "host/study/consistency.h"
#include "host/study/study_runs.h"

namespace idem {

// What the baselines read of the test bins: [subject][split].
using BaselineReadings = std::vector<std::vector<TestReadings>>;

// One entry for each recording with a position or a direction, see host/FORMATS.md: every model's and every baseline's
// score of the test bins with its interval (host/statistics/score_interval.h), by the reading that the validation bins
// prefer, and what the model that they prefer differs by from each of the others. metrics: "runs" and "baselines" of
// metrics.json. Verdicts follow Holm over all of them; intervals are plain.
nlohmann::json decoding_evidence(const StudyRuns& runs, const std::vector<FinishedRun>& finished,
                                 const BaselineReadings& baselines, const nlohmann::json& metrics);

}  // namespace idem
