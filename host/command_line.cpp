#include "host/command_line.h"

#include <algorithm>
#include <sstream>

#include <CLI/CLI.hpp>

#include "engine/device/device.h"
#include "host/bench/bench.h"
#include "host/commands.h"
#include "host/config/schema.h"
#include "host/families/families.h"
#include "host/recordings/simulators.h"
#include "host/support/output.h"
#include "host/support/signals.h"

namespace idem {
namespace {

class CommandLine {
 public:
  CommandLine() {
    app_.set_version_flag("--version", "idem " IDEM_VERSION);
    app_.require_subcommand(1);
    add_run();
    add_check();
    add_transform();
    add_report();
    add_data();
    add_simulate();
    add_parity();
    add_bench();
    add_profile();
    add_lists();
  }

  ExitCode run(int argc, char** argv) {
    require_command(argc > 1 ? argv[1] : "");
    try {
      app_.parse(argc, argv);
    } catch (const CLI::Success& help_or_version) {
      std::ostringstream text;
      app_.exit(help_or_version, text);
      print_result(text.str());
    } catch (const CLI::ParseError& error) {
      throw ConfigError(std::string(error.what()) + "; see idem --help");
    }
    return code_;
  }

 private:
  void require_command(const std::string& first) {
    std::vector<std::string> commands;
    for (const auto* command : app_.get_subcommands({})) commands.push_back(command->get_name());
    if (first.starts_with('-') || std::find(commands.begin(), commands.end(), first) != commands.end()) return;
    throw ConfigError((first.empty() ? "what to do?" : "there is no command \"" + first + "\";") +
                      " commands: " + CLI::detail::join(commands, ", ") + "; see idem --help");
  }

  // ---- options that commands share ----
  void add_study(CLI::App* command) {
    command->add_option("CONFIG", study_.config, "configuration, as configs/*.json")->required();
    command
        ->add_option("--recording", study_.recording,
                     "recording file, or configuration with another recording, in place of CONFIG's")
        ->type_name("FILE");
    command->add_option("--set", study_.overrides, "change one key, as training.epochs=20 (repeatable)")
        ->type_name("KEY=VALUE")
        ->take_all()
        ->expected(1);
  }

  void add_device(CLI::App* command) {
    command->add_option("--device", run_.device, "auto, cpu, cuda or cuda:i")->capture_default_str();
    command
        ->add_option(
            "--threads", run_.n_threads,
            "CPU threads; 0: one per core that this process may use, at most SLURM_CPUS_PER_TASK and OMP_NUM_THREADS")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
  }

  void add_precision(CLI::App* command) {
    command
        ->add_option("--precision", products_,
                     "of matrix products on a GPU: fp32, tf32 (faster, factors of 10 bits) or bf16 (7 bits)")
        ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
        ->capture_default_str();
  }

  void add_convolutions(CLI::App* command) {
    command
        ->add_option("--convolutions", convolutions_,
                     "of temporal-convolution encoders: gemm (this program's own kernels or products, for any number "
                     "of runs at once) or "
                     "cudnn (GPU, for few)")
        ->check(CLI::IsMember({"gemm", "cudnn"}))
        ->capture_default_str();
  }

  // ---- commands ----
  void add_run() {
    auto* run_command = app_.add_subcommand("run", "train what a configuration names and write a report");
    add_study(run_command);
    run_command->add_option("--out", run_.out, "folder to write; default: out/NAME of the study")->type_name("DIR");
    add_device(run_command);
    add_precision(run_command);
    add_convolutions(run_command);
    run_command->add_flag("--resume", run_.resume, "train only what is missing in the folder");
    run_command->add_flag("--quiet", run_.quiet, "no progress");
    run_command->add_flag("--profile", run_.profile,
                          "say where the time goes, by phase and by operation, in profile.json and the report");
    run_command->footer(
        "Ctrl-C ends the run after the epoch (CEBRA: after the steps up to the next line of log.jsonl), keeps the "
        "finished runs and exits 5; --resume "
        "trains the rest. A second Ctrl-C quits at once (130). SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU "
        "and, but under nohup, SIGHUP do the "
        "same; SIGHUP and SIGXCPU may come again.");
    run_command->callback([this] {
      catch_end_signals();
      run_.is_interrupted = is_end_asked;
      run_.precision = enum_from<ProductPrecision>(products_);
      run_.convolutions = enum_from<ConvolutionMethod>(convolutions_);
      code_ = run_study(load_study(study_), run_);
    });
  }

  void add_check() {
    auto* check_command = app_.add_subcommand("check", "say what a configuration would run, and train nothing");
    add_study(check_command);
    check_command->callback([this] { print_result(describe_study(load_study(study_))); });
  }

  void add_transform() {
    auto* transform_command = app_.add_subcommand("transform", "latents of a recording under a saved model");
    transform_command->add_option("MODEL", model_path_, "model.safetensors of a run")->required();
    transform_command
        ->add_option("RECORDING", recording_path_, "recording file, or a configuration with a recording section")
        ->required();
    transform_command->add_option("--out", out_path_, "file to write; default: RECORDING's name with -latents.npz")
        ->type_name("FILE.npz");
    add_device(transform_command);
    transform_command->callback(
        [this] { print_result(run_transform(model_path_, recording_path_, out_path_, run_.device, run_.n_threads)); });
  }

  void add_report() {
    auto* report_command = app_.add_subcommand("report", "write the figures and the report of a run's folder again");
    report_command->add_option("DIR", out_path_, "folder that idem run wrote")->required();
    report_command->callback([this] { print_result(run_report(out_path_)); });
  }

  void add_data() {
    auto* data_command = app_.add_subcommand("data", "look at recordings");
    data_command->require_subcommand(1);
    auto* info_command = data_command->add_subcommand("info", "rates, gaps, labels and a raster of a recording");
    info_command
        ->add_option("RECORDING", recording_path_, "recording file, or a configuration with a recording section")
        ->required();
    info_command->callback([this] { print_result(describe_recordings(recording_path_)); });
  }

  void add_simulate() {
    auto* simulate_command = app_.add_subcommand("simulate", "write a simulated recording");
    simulate_command->add_option("NAME", simulate_.name, "one of " + CLI::detail::join(simulation_names(), ", "))
        ->required();
    simulate_command->add_option("--out", simulate_.out, "file to write")->required()->type_name("FILE.npz");
    simulate_command->add_option("--seed", simulate_.seed, "seed")->capture_default_str();
    simulate_command->add_option("--animal", simulate_.animal, "linear-track: which animal");
    simulate_command->callback([this] { print_result(run_simulate(simulate_)); });
  }

  void add_parity() {
    auto* parity_command =
        app_.add_subcommand("parity", "run a golden case, so that another program's numbers can be compared");
    parity_command->add_option("CASE", case_path_, "golden case")->required()->type_name("CASE.npz");
    parity_command->add_option("--out", out_path_, "file to write, under the case's own names")
        ->required()
        ->type_name("OUT.npz");
    parity_command->add_option("--precision", precision_, "fp32, tf32 or bf16 (GPU), fp64 (CPU)")
        ->check(CLI::IsMember({"fp32", "tf32", "bf16", "fp64"}))
        ->capture_default_str();
    add_convolutions(parity_command);
    add_device(parity_command);
    parity_command->callback([this] {
      print_result(run_parity_case(case_path_, out_path_, precision_, convolutions_, run_.device, run_.n_threads));
    });
  }

  void add_bench() {
    auto* bench_command =
        app_.add_subcommand("bench", "time every operation and training step of a device against its measured limits");
    auto* filter = bench_command->add_option("--filter", bench_.filter, "only cases whose names match, as 'step/|adam'")
                       ->type_name("REGEX");
    auto* out = bench_command->add_option("--out", bench_.out, "file to write")->type_name("FILE.json");
    auto* profile =
        bench_command
            ->add_option(
                "--profile", bench_.profile,
                "folder for profile.json and profile.html, which say where the time of every chosen step goes, "
                "and on a GPU for NVIDIA's profilers' script")
            ->type_name("DIR");
    auto* floors =
        bench_command
            ->add_option("--floors", bench_.floors,
                         "an earlier --out, whose counts of steps' products are taken instead of counting them anew")
            ->type_name("FILE.json");
    auto* repetitions = bench_command->add_option("--repetitions", bench_.repetitions, "of each timing")
                            ->check(CLI::Range(1, 1000))
                            ->capture_default_str();
    auto* once =
        bench_command
            ->add_option("--once", bench_.once,
                         "run one case once instead, for a profiler that waits for it (ncu --profile-from-start off)")
            ->type_name("CASE[/E]");
    for (auto* option : {filter, out, profile, floors, repetitions}) once->excludes(option);
    bench_command->footer(
        "% copy, % GEMM: of the rate of a large copy and of a large matrix product, which are measured first; small "
        "operations work in the processor's cache and may exceed them. % roof: of the longer of the times that the "
        "operation's bytes would take at the copy's rate and its FLOPs at the best of multiply-adds and products. "
        "floor: what the step's products, weights and "
        "optimizer "
        "would take at both rates. Ctrl-C ends after the case that runs and exits 5; a second one quits at once.");
    add_precision(bench_command);
    add_convolutions(bench_command);
    add_device(bench_command);
    bench_command->callback([this] {
      bench_.steps = step_benches();
      bench_.device = run_.device;
      bench_.n_threads = run_.n_threads;
      bench_.precision = enum_from<ProductPrecision>(products_);
      bench_.convolutions = enum_from<ConvolutionMethod>(convolutions_);
      if (!bench_.once.empty()) return print_result(run_once(bench_));
      catch_end_signals("this case");
      if (!run_bench(bench_, print_result, is_end_asked)) code_ = ExitCode::interrupted;
      print_result(write_profile_page_of(bench_.profile));
    });
  }

  void add_profile() {
    auto* profile_command = app_.add_subcommand("profile", "show or compare profiles of idem run and idem bench");
    profile_command->require_subcommand(1);
    auto* show = profile_command->add_subcommand("show", "where the time went: phases, operations, kernels");
    show->add_option("PROFILE", profile_path_, "profile.json, or the folder it lies in")->required();
    show->add_option("--step", step_, "show this one alone, as step/pi-vae-60/16")->type_name("NAME");
    show->add_option("--ncu", ncu_path_, "what ncu --csv --page raw printed of that step, shown beside its kernels")
        ->type_name("FILE.csv");
    show->callback([this] { print_result(run_profile_show(profile_path_, step_, ncu_path_)); });
    auto* ncu = profile_command->add_subcommand("ncu", "what Nsight Compute counted of each kernel, as JSON");
    ncu->add_option("KERNELS.csv", ncu_path_, "what ncu --csv --page raw printed")->required();
    ncu->callback([this] { print_result(run_profile_ncu(ncu_path_)); });
    auto* compare =
        profile_command->add_subcommand("compare", "what became slower or faster, beyond the noise of runs");
    compare
        ->add_option("BEFORE... AFTER", profile_paths_,  // its "..." comes by itself
                     "as many profiles before a change as after it: profile.json, or the folder it lies in")
        ->option_text("... REQUIRED")
        ->required();
    compare->add_option("--out", out_path_, "a page to write, with both profiles' pictures")->type_name("FILE.html");
    compare->footer(
        "Ratios: of medians, and of all of after's times by all of before's. SLOWER and faster, of what takes 1 % of "
        "the step: every run of the one took longer than every one of the other, and their medians differ by "
        "more than 5 % and by more than runs of either do among themselves. Runs of one program differ too, so make "
        "three of each, in turns: idem profile compare {before,after}{1,2,3}. The last line then says how many such "
        "words chance alone brings. The roofs' ratios say whether the machine was another.");
    compare->callback([this] { print_result(run_profile_compare(profile_paths_, out_path_)); });
  }

  void add_lists() {
    app_.add_subcommand("devices", "the devices this program can use")->callback([] {
      for (const auto& line : list_devices()) print_result(line + "\n");
    });
    app_.add_subcommand("reference", "the reference page of configuration keys")->callback([] {
      print_result(config_reference());
    });
  }

  CLI::App app_{"Identifiable latent-variable models of neural populations: train, compare and explain them.", "idem"};
  ExitCode code_ = ExitCode::ok;
  // What options are read into; commands share them, as one runs alone.
  StudyArguments study_;
  RunOptions run_;
  SimulateArguments simulate_;
  BenchArguments bench_;
  std::string products_ = "fp32", convolutions_ = "gemm", precision_ = "fp32";
  std::string model_path_, recording_path_, out_path_, case_path_, profile_path_, step_, ncu_path_;
  std::vector<std::string> profile_paths_;
};

}  // namespace

ExitCode run_command_line(int argc, char** argv) { return CommandLine().run(argc, argv); }

}  // namespace idem
