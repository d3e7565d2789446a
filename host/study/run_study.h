// run_study.h - `idem run`: trains what a study names and writes its folder.
//
// DIR/config.json   the resolved study; `idem run DIR/config.json` gives the same runs
// DIR/log.jsonl     run_log.h
// DIR/metrics.json  {"crc32": metrics_file.h, "runs": [{"run", "subject", "model", "family", "objective", "seed", "split", "sees_labels" (false: "posterior" is the encoder times a
//                   prior of no label here and in latents.npz, and the report leaves it out), "target", "recording_crc32" (counts, labels and
//                   segments), "device", "version", "metrics": {"encoder", "posterior" (not of CEBRA): decoding.h, "marginal": marginal_decoding.h,
//                   where there is}, "agreement": affine_agreement of its label-free with its with-label latents, "collapse": {"valid", "test":
//                   collapse.h}, "fit" (CEBRA): {"train", "valid": {"info_nce", "goodness_of_fit_bits", of "valid" both with
//                   "_error": standard error over training's "valid_batches", of a hybrid also "behaviour": the same}, "temperature"} at the last step
//                   (of a control with shuffled labels "valid" is of the true ones), "identifiability" (simulations), "training": with kept_epoch and kept_valid_loss (of CEBRA
//                   with kept_valid_loss_error) of the weights that were kept, and the fleet_seconds that its fleet_size runs took together}],
//                   "consistency": {"runs": [{"subject", "model", "encoder", "posterior": mean_affine_agreement of the seeds, mean over splits,
//                   "encoder_train", "posterior_train": the same scored on the train bins they are fitted on, as published, and each with
//                   "_lowest_loss": of the half of the seeds with the lowest losses (four seeds or more), "splits": [{"split",
//                   "seeds", ...}]}] (two seeds or more), "animals": [{"from", "to", "model", "splits": [{"split", "encoder", "posterior": {"train",
//                   "test", without a map "train_unmapped", "test_unmapped", with label bins' means of length 1 "train_published", "test_published",
//                   the share of label bins that some pair lacks "train_bins_left_out", "test_bins_left_out", and the one's position read from the
//                   other's latents "across_position_error_cm" (or without _cm), "across_position_r2"}: consistency.h, mean over seeds}]}]},
//                   "baselines": [{"subject", "split", ...}],
//                   "labels": {subject: decoded_labels}, "planned_runs": how many "runs" will hold at the end, "device", "version": of all the runs}. resume refuses runs of another recording and
//                   warns of those of another device or version.
//                   A run that failed (its kept weights have no finite validation loss, or latents that are not finite) has "failed": true and a
//                   "reason" instead of scores, no files, and no part in any mean; resume does not train it again.
// DIR/runs/SUBJECT-MODEL-sSEED-fSPLIT/model.idem, latents.npz; figures and report.html as report.h says.
// latents.npz: time_s, segment, split (0 train, 1 valid, 2 test, -1 unused) [T]; encoder_mean (of CEBRA the embedding; not of an encoder that sees
// labels) and encoder_log_var, label-free, and but for CEBRA posterior_mean [T x K]; labels
// [T x U] (every label of the recording, encoded) with label_names; decoded_position [T], from label-free latents, NaN where not decoded.
// Every file but the log appears whole or not at all; what a kill leaves of one (NAME.partial) resume removes.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/device/device.h"
#include "host/config/study.h"
#include "host/support/errors.h"

namespace idem {

struct RunOptions {
  std::filesystem::path out;  // empty: out/NAME of the study
  std::string device = "auto";
  ProductPrecision precision = ProductPrecision::fp32;
  ConvolutionMethod convolutions = ConvolutionMethod::gemm;
  int n_threads = 0;
  bool resume = false, quiet = false;
  std::function<bool()> is_interrupted = {};  // asked before every baseline and fleet, and after every epoch or record of steps
};

// ok; interrupted: then the runs that were finished are kept and resume does the rest; or failure where every run failed (the report is written
// and says so). Throws ConfigError when `out` holds something (unless resume) or belongs to another study, DataError and DeviceError.
ExitCode run_study(const Study& study, const RunOptions& options);

}  // namespace idem
