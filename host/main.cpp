// main.cpp - the command line. Only here does the program exit; every error is one line on stderr and one of the exit codes of errors.h.
#include <algorithm>
#include <filesystem>
#include <new>
#include <sstream>
#include <system_error>

#include <CLI/CLI.hpp>

#include "engine/device/device.h"
#include "host/bench/bench.h"
#include "host/commands.h"
#include "host/config/schema.h"
#include "host/support/errors.h"
#include "host/support/output.h"
#include "host/support/signals.h"
#include "host/recordings/simulators.h"

namespace {

int fail(const std::string& message, idem::ExitCode code) {
  idem::say(stderr, "idem: " + message + "\n");
  return static_cast<int>(code);
}

int run_program(int argc, char** argv) {
  using idem::ExitCode;
  CLI::App app("Identifiable latent-variable models of neural populations: train, compare and explain them.", "idem");
  app.set_version_flag("--version", "idem " IDEM_VERSION);
  app.require_subcommand(1);
  ExitCode code = ExitCode::ok;

  idem::StudyArguments study;
  idem::RunOptions run;
  const auto add_study = [&](CLI::App* command) {
    command->add_option("CONFIG", study.config, "configuration, as configs/*.json")->required();
    command->add_option("--recording", study.recording, "recording file, or configuration with another recording, in place of CONFIG's")
        ->type_name("FILE");
    command->add_option("--set", study.overrides, "change one key, as training.epochs=20 (repeatable)")
        ->type_name("KEY=VALUE")
        ->take_all()
        ->expected(1);
  };
  const auto add_device = [&](CLI::App* command) {
    command->add_option("--device", run.device, "auto, cpu, cuda or cuda:i")->capture_default_str();
    command->add_option("--threads", run.n_threads, "CPU threads; 0: one per core that this process may use, at most SLURM_CPUS_PER_TASK and OMP_NUM_THREADS")->check(CLI::Range(0, 4096))->capture_default_str();
  };

  auto* run_command = app.add_subcommand("run", "train what a configuration names and write a report");
  add_study(run_command);
  run_command->add_option("--out", run.out, "folder to write; default: out/NAME of the study")->type_name("DIR");
  add_device(run_command);
  std::string products = "fp32", convolutions = "gemm";
  const auto add_precision = [&](CLI::App* command) {
    command->add_option("--precision", products,
                        "of matrix products on a GPU: fp32, tf32 (faster, factors of 10 bits) or bf16 (7 bits)")
        ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
        ->capture_default_str();
  };
  const auto add_convolutions = [&](CLI::App* command) {
    command->add_option("--convolutions", convolutions,
                        "of temporal-convolution encoders: gemm (this program's own kernels or products, for any number of runs at once) or "
                        "cudnn (GPU, for few)")
        ->check(CLI::IsMember({"gemm", "cudnn"}))
        ->capture_default_str();
  };
  add_precision(run_command);
  add_convolutions(run_command);
  run_command->add_flag("--resume", run.resume, "train only what is missing in the folder");
  run_command->add_flag("--quiet", run.quiet, "no progress");
  run_command->footer(
      "Ctrl-C ends the run after the epoch (CEBRA: after the steps up to the next line of log.jsonl), keeps the finished runs and exits 5; --resume "
      "trains the rest. A second Ctrl-C quits at once (130). SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU and, but under nohup, SIGHUP do the "
      "same; SIGHUP and SIGXCPU may come again.");
  run_command->callback([&] {
    idem::catch_end_signals();
    run.is_interrupted = idem::is_end_asked;
    run.precision = idem::enum_from<idem::ProductPrecision>(products);
    run.convolutions = idem::enum_from<idem::ConvolutionMethod>(convolutions);
    code = idem::run_study(idem::load_study(study), run);
  });

  auto* check_command = app.add_subcommand("check", "say what a configuration would run, and train nothing");
  add_study(check_command);
  check_command->callback([&] { idem::print_result(idem::describe_study(idem::load_study(study))); });

  std::string model_path, recording_path, out_path;
  auto* transform_command = app.add_subcommand("transform", "latents of a recording under a saved model");
  transform_command->add_option("MODEL", model_path, "model.safetensors of a run")->required();
  transform_command->add_option("RECORDING", recording_path, "recording file, or a configuration with a recording section")->required();
  transform_command->add_option("--out", out_path, "file to write; default: RECORDING's name with -latents.npz")->type_name("FILE.npz");
  add_device(transform_command);
  transform_command->callback([&] { idem::print_result(idem::run_transform(model_path, recording_path, out_path, run.device, run.n_threads)); });

  auto* report_command = app.add_subcommand("report", "write the figures and the report of a run's folder again");
  report_command->add_option("DIR", out_path, "folder that idem run wrote")->required();
  report_command->callback([&] { idem::print_result(idem::run_report(out_path)); });

  auto* data_command = app.add_subcommand("data", "look at recordings");
  data_command->require_subcommand(1);
  auto* info_command = data_command->add_subcommand("info", "rates, gaps, labels and a raster of a recording");
  info_command->add_option("RECORDING", recording_path, "recording file, or a configuration with a recording section")->required();
  info_command->callback([&] { idem::print_result(idem::describe_recordings(recording_path)); });

  idem::SimulateArguments simulate;
  auto* simulate_command = app.add_subcommand("simulate", "write a simulated recording");
  simulate_command->add_option("NAME", simulate.name, "one of " + CLI::detail::join(idem::simulation_names(), ", "))->required();
  simulate_command->add_option("--out", simulate.out, "file to write")->required()->type_name("FILE.npz");
  simulate_command->add_option("--seed", simulate.seed, "seed")->capture_default_str();
  simulate_command->add_option("--animal", simulate.animal, "linear-track: which animal");
  simulate_command->callback([&] { idem::print_result(idem::run_simulate(simulate)); });

  std::string case_path, precision = "fp32";
  auto* parity_command = app.add_subcommand("parity", "run a golden case, so that another program's numbers can be compared");
  parity_command->add_option("CASE", case_path, "golden case")->required()->type_name("CASE.npz");
  parity_command->add_option("--out", out_path, "file to write, under the case's own names")->required()->type_name("OUT.npz");
  parity_command->add_option("--precision", precision, "fp32, tf32 or bf16 (GPU), fp64 (CPU)")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16", "fp64"}))
      ->capture_default_str();
  add_convolutions(parity_command);
  add_device(parity_command);
  parity_command->callback(
      [&] { idem::print_result(idem::run_parity_case(case_path, out_path, precision, convolutions, run.device, run.n_threads)); });

  idem::BenchArguments bench;
  auto* bench_command = app.add_subcommand("bench", "time every operation and training step of a device against its measured limits");
  auto* filter = bench_command
      ->add_option("--filter", bench.filter, "only cases whose names match, as 'step/|adam'")
      ->type_name("REGEX");
  auto* out = bench_command->add_option("--out", bench.out, "file to write")->type_name("FILE.json");
  auto* profile = bench_command
      ->add_option("--profile", bench.profile,
                   "folder for the profilers' script, on a GPU; also prints every step's operations by time")
      ->type_name("DIR");
  auto* floors = bench_command
      ->add_option("--floors", bench.floors,
                   "an earlier --out, whose counts of steps' products are taken instead of counting them anew")
      ->type_name("FILE.json");
  auto* repetitions = bench_command->add_option("--repetitions", bench.repetitions, "of each timing")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  auto* once = bench_command
      ->add_option("--once", bench.once,
                   "run one case once instead, for a profiler that waits for it (ncu --profile-from-start off)")
      ->type_name("CASE[/E]");
  for (auto* option : {filter, out, profile, floors, repetitions}) once->excludes(option);
  bench_command->footer(
      "% copy, % GEMM: of the rate of a large copy and of a large matrix product, which are measured first; small "
      "operations work in the processor's cache and may exceed them. % roof: of the longer of the times that copy and "
      "product would take for the operation's bytes and FLOPs. floor: what the step's products, weights and optimizer "
      "would take at both rates. Ctrl-C ends after the case that runs and exits 5; a second one quits at once.");
  add_precision(bench_command);
  add_convolutions(bench_command);
  add_device(bench_command);
  bench_command->callback([&] {
    bench.device = run.device;
    bench.n_threads = run.n_threads;
    bench.precision = idem::enum_from<idem::ProductPrecision>(products);
    bench.convolutions = idem::enum_from<idem::ConvolutionMethod>(convolutions);
    if (!bench.once.empty()) return idem::print_result(idem::run_once(bench));
    idem::catch_end_signals("this case");
    if (!idem::run_bench(bench, idem::print_result, idem::is_end_asked)) code = ExitCode::interrupted;
  });

  app.add_subcommand("devices", "the devices this program can use")->callback([] {
    for (const auto& line : idem::list_devices()) idem::print_result(line + "\n");
  });
  app.add_subcommand("reference", "the reference page of configuration keys")->callback([] { idem::print_result(idem::config_reference()); });

  std::vector<std::string> commands;
  for (const auto* command : app.get_subcommands({})) commands.push_back(command->get_name());
  const std::string first = argc > 1 ? argv[1] : "";
  if (first.empty() || (first.front() != '-' && std::find(commands.begin(), commands.end(), first) == commands.end()))
    return fail((first.empty() ? "what to do?" : "there is no command \"" + first + "\";") + " commands: " + CLI::detail::join(commands, ", ") +
                    "; see idem --help",
                ExitCode::config);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    std::ostringstream text;
    app.exit(help_or_version, text);
    idem::print_result(text.str());
    return 0;
  } catch (const CLI::ParseError& error) {
    return fail(std::string(error.what()) + "; see idem --help", ExitCode::config);
  }
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  using idem::ExitCode;
  idem::occupy_standard_descriptors();
  idem::ignore_write_signals();
  try {
    return run_program(argc, argv);
  } catch (const idem::ConfigError& error) {
    return fail(error.what(), ExitCode::config);
  } catch (const idem::DataError& error) {
    return fail(error.what(), ExitCode::data);
  } catch (const idem::DeviceError& error) {
    return fail(error.what(), ExitCode::device);
  } catch (const idem::OutputClosed&) {
    return static_cast<int>(ExitCode::output_closed);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(error.path1().string() + ": cannot be used (" + error.code().message() + "); choose another path", ExitCode::data);
  } catch (const std::bad_alloc&) {
    idem::say(stderr, "idem: not enough memory; lower training.batch, the model's widths or the number of seeds\n");  // takes none
    return static_cast<int>(ExitCode::device);
  } catch (const std::system_error& error) {  // of threads: files are filesystem_error's
    return fail(std::string("the system gives no more threads (") + error.code().message() + "); lower --threads", ExitCode::device);
  } catch (const std::exception& error) {
    return fail(error.what(), ExitCode::failure);
  }
}
