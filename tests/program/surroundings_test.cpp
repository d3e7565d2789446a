// What the program does when its surroundings fail it: closed and full outputs, little memory, signals, short file
// limits, names that are no text.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <zlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

#include "host/support/files.h"
#include "host/formats/npz.h"
#include "kernels/common/to_size.h"
#include "tests/support/program.h"

namespace idem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string table_of(const char* text) {
  std::string table = "n1,n2,n3,cage,pos\n";
  for (int bin = 0; bin < 120; ++bin)
    table += std::to_string(bin % 3) + "," + std::to_string(bin % 2) + "," + std::to_string(bin * 7 % 5 % 3) + "," +
             text + std::to_string(bin / 10 % 2) + "," + std::to_string(bin * 37 % 100) + "\n";
  return table;
}

// Of a table of counts with a category and a position, beside it.
json table_study() {
  return json::parse(R"({
    "name": "small",
    "recording": {"counts": {"file": "table.csv", "columns": ["n1", "n2", "n3"]}, "bin_width_ms": 25, "subject": "rat",
                  "labels": [{"name": "cage", "kind": "categorical", "file": "table.csv", "column": "cage"},
                             {"name": "position", "file": "table.csv", "column": "pos"}]},
    "splits": {"kind": "time"}, "windows": {"left": 1, "right": 1}, "evaluation": {"neighbours": [1, 4]},
    "model": {"encoder": {"widths": [8]}, "prior": {"widths": [4]}, "decoder": {"widths": [6]}, "objective": {"samples": 2}},
    "models": [{"name": "first"}, {"name": "second"}],
    "training": {"batch": 32, "epochs": 2}
  })");
}

class Surroundings : public testing::Test {
 protected:
  void SetUp() override {
    write_file_bytes(folder / "table.csv", table_of("cage"));
    write_file_bytes(folder / "study.json", table_study().dump(2));
  }

  static std::vector<std::string> run_of(const std::string& out, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"run", "study.json", "--out", out, "--device", "cpu", "--threads", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void expect_whole(const std::string& out) const {
    const json metrics = json::parse(text_of_file(folder / out / "metrics.json"), nullptr, false);
    ASSERT_TRUE(metrics.is_object()) << out;
    EXPECT_EQ(metrics.at("runs").size(), 2u);
    EXPECT_TRUE(fs::exists(folder / out / "report.html"));
    std::istringstream log(text_of_file(folder / out / "log.jsonl"));
    for (std::string line; std::getline(log, line);) EXPECT_TRUE(json::accept(line)) << line;
  }
  static void expect_one_line(const Program::Result& result, int code, const std::string& part) {
    EXPECT_EQ(result.code, code) << result.errors;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    EXPECT_EQ(result.errors.find("idem: "), 0u) << result.errors;
    EXPECT_NE(result.errors.find(part), std::string::npos) << result.errors;
    EXPECT_EQ(result.errors.find("json.exception"), std::string::npos) << result.errors;
  }

  TemporaryFolder folder;
  Program program{folder};
};

// ---- text ----

TEST_F(Surroundings, ALatin1TableTrainsAsTheTextItIsAndSaysSo) {
  write_file_bytes(folder / "table.csv", table_of("K\xE4"
                                                  "fig"));
  const std::string note =
      "table.csv is not UTF-8 and was read as Windows-1252 (row 2, column 3: \"K\xC3\xA4"
      "fig0\"); if that is wrong, save it as CSV UTF-8";
  const auto check = program.run({"check", "study.json"}), run = program.run(run_of("out"));
  EXPECT_EQ(check.code, 0) << check.errors;
  EXPECT_NE(check.output.find(note), std::string::npos) << check.output;
  ASSERT_EQ(run.code, 0) << run.errors;
  EXPECT_NE(run.errors.find(note), std::string::npos) << run.errors;
  expect_whole("out");
  EXPECT_EQ(read_npz(folder / "out/runs/rat-first-s1-f0/latents.npz").at("label_names").texts()[1],
            "cage=K\xC3\xA4"
            "fig1");
}

TEST_F(Surroundings, TextThatCannotBeReadIsRefusedBeforeAnythingIsWritten) {
  const auto expect = [&](const std::vector<std::string>& arguments, int code, const std::string& part) {
    for (const char* command : {"check", "run"}) {
      std::vector<std::string> all{command};
      all.insert(all.end(), arguments.begin(), arguments.end());
      expect_one_line(program.run(all), code, part);
    }
    EXPECT_FALSE(fs::exists(folder / "out"));
  };
  write_file_bytes(folder / "table.csv", table_of("K\x81"
                                                  "fig"));
  expect({"study.json"}, 3,
         "table.csv: row 2, column 3 holds text that is neither UTF-8 nor Windows-1252 (the byte 0x81)");
  write_file_bytes(folder / "table.csv", table_of("K\xE4"
                                                  "fig \xE2\x82\xAC"));
  expect({"study.json"}, 3, "(the byte 0xE4), while other text of the table is UTF-8; save the table as CSV UTF-8");
  write_file_bytes(folder / "table.csv", std::string("\xFF\xFEn\0", 4));
  expect({"study.json"}, 3, "table.csv: is UTF-16 text");
  write_file_bytes(folder / "table.csv", table_of("cage"));

  json study = table_study();
  study["recording"]["labels"][0] = {{"name", "cage"}, {"kind", "categorical"}, {"file", "cage.npz"}};
  write_file_bytes(folder / "arrays.json", study.dump());
  NumpyArray bytes;
  bytes.type = {'S', 2, false};
  bytes.shape = {120};
  for (int bin = 0; bin < 120; ++bin) bytes.bytes += bin % 2 ? "a\xE4" : "bb";
  write_npz(folder / "cage.npz", {{"cage", bytes}});
  expect({"arrays.json"}, 3,
         "element 1 holds the byte 0xE4, which is not UTF-8; save the array as text: numpy.char.decode");
  NumpyArray codes = NumpyArray::of_texts(std::vector<std::string>(120, "x"));
  const std::uint32_t surrogate = 0xD800, beyond = 0x110000;
  codes.bytes.replace(8, 4, reinterpret_cast<const char*>(&surrogate), 4);
  write_npz(folder / "cage.npz", {{"cage", codes}});
  expect({"arrays.json"}, 3, "element 2 holds U+D800, which is no character");
  codes.bytes.replace(8, 4, reinterpret_cast<const char*>(&beyond), 4);
  write_npz(folder / "cage.npz", {{"cage", codes}});
  expect({"arrays.json"}, 3, "element 2 holds U+110000, which is no character");
  // A pickle's text that Python let pass, and its bytes.
  write_file_bytes(folder / "cage.npz", std::string("\x80\x04\x8c\x04K\xE4ig\x94", 9) + "\x85\x94.");
  expect({"arrays.json"}, 3, "element 0 holds the byte 0xE4");

  write_file_bytes(folder / "latin.json",
                   "{\n  \"name\": \"K\xE4"
                   "fig\"\n}");
  expect({"latin.json"}, 2, "latin.json:2:13: is not UTF-8 (the byte 0xE4); save the file as UTF-8");
  write_file_bytes(folder / "wide.json", std::string("\xFF\xFE{\0", 4));
  expect({"wide.json"}, 2, "wide.json:1:1: is UTF-16 text; save the file as UTF-8");
  expect({"study.json", "--set",
          "recording.subject=K\xE4"
          "fig"},
         2,
         "--set recording.subject=K\\xE4"
         "fig: is not UTF-8");
  expect({"study.json", "--set", "recording.K\xE4=1"}, 2, "is not UTF-8");
}

TEST_F(Surroundings, FoldersAndFilesMayHaveAnyName) {
  const std::string home =
                        "K\xE4"
                        "fig \xFF",
                    out = "Erg\xE4nzt";
  fs::create_directory(folder / home);
  fs::rename(folder / "table.csv", folder / home /
                                       "t\xE4"
                                       "b.csv");
  std::string study = table_study().dump(2);
  for (std::size_t at; (at = study.find("table.csv")) != std::string::npos;)
    study.replace(at, 9,
                  "t\\\\xE4"
                  "b.csv");
  write_file_bytes(folder / home / "study.json", study);
  auto result = program.run({"run", home + "/study.json", "--out", out, "--device", "cpu", "--threads", "1"});
  ASSERT_EQ(result.code, 0) << result.errors;
  expect_whole(out);
  const std::string latents = text_of_file(folder / out / "runs/rat-first-s1-f0/latents.npz");
  // The folder is taken up again, and its own configuration finds the recording.
  fs::remove(folder / out / "runs/rat-first-s1-f0/latents.npz");
  result = program.run({"run", out + "/config.json", "--out", out, "--resume", "--device", "cpu", "--threads", "1"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_TRUE(text_of_file(folder / out / "runs/rat-first-s1-f0/latents.npz") == latents);
  EXPECT_EQ(program.run({"report", out}).code, 0);
  result = program.run({"transform", out + "/runs/rat-first-s1-f0/model.safetensors", home + "/study.json", "--out",
                        home + "/l.npz", "--device", "cpu"});
  EXPECT_EQ(result.code, 0) << result.errors;
  result = program.run({"check", home + "/study.json", "--set",
                        "recording.counts.file=t\xE4"
                        "b.csv"});
  expect_one_line(result, 2, "if the byte shown as \\xE4 belongs to a file's name, write it so");
  EXPECT_EQ(program
                .run({"check", home + "/study.json", "--set",
                      "recording.counts.file=t\\xE4"
                      "b.csv"})
                .code,
            0);
  EXPECT_EQ(program.run({"simulate", "linear-track", "--out", home + "/track.npz"}).code, 0);
  EXPECT_EQ(program.run({"check", home + "/study.json", "--recording", home + "/track.npz"}).code, 0);
}

TEST_F(Surroundings, PathsThatLeadNowhereAreOneLineBeforeTraining) {
  fs::create_symlink("loop.json", folder / "loop.json");
  fs::create_symlink("loop", folder / "loop");
  const std::string long_name(300, 'a'), long_model(240, 'm');
  std::string deep;
  for (int i = 0; i < 20; ++i) deep += std::string(202, 'd') + "/";
  expect_one_line(program.run({"run", "loop.json"}), 2, "loop.json: ");
  expect_one_line(program.run({"run", long_name + ".json"}), 2, ".json: cannot be read");
  expect_one_line(program.run(run_of("loop")), 2, "--out loop: cannot be used (Too many levels of symbolic links)");
  expect_one_line(program.run(run_of(long_name)), 2, "cannot be used (File name too long)");
  expect_one_line(program.run(run_of(deep)), 2, "cannot be used (File name too long)");
  for (const char* command : {"check", "run"})
    expect_one_line(program.run({command, "study.json", "--set", "models.0.name=" + long_model}), 2,
                    "at most 240 can be; shorten the model's name");
  for (const char* subject : {".", ".."})
    expect_one_line(program.run({"check", "study.json", "--set", std::string("recording.subject=") + subject}), 2,
                    "recording.subject: expected a text that matches");
  expect_one_line(program.run({"run", "study.json", "--set", "recording.counts.file=loop"}), 3,
                  "loop: cannot be read (Too many levels of symbolic links)");
  expect_one_line(program.run({"check", "study.json", "--recording", "loop"}), 3, "loop: cannot be read");
  expect_one_line(program.run({"data", "info", "loop"}), 3, "loop: cannot be read");
  expect_one_line(program.run({"transform", "loop", "study.json"}), 3, "loop: ");
  expect_one_line(program.run({"report", "loop"}), 3, "loop: ");
  expect_one_line(program.run({"parity", long_name, "--out", "x.npz"}), 3, "File name too long");
  EXPECT_FALSE(fs::exists(folder / "out"));
}

// ---- outputs ----

void become_full(int descriptor) { dup2(open("/dev/full", O_WRONLY), descriptor); }

void become_pipe_without_reader(int descriptor) {
  int ends[2];
  if (pipe(ends) != 0) _exit(126);
  close(ends[0]);
  dup2(ends[1], descriptor);
}

void become_dead_terminal(int descriptor) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) _exit(126);
  dup2(open(ptsname(master), O_RDWR | O_NOCTTY), descriptor);
  close(master);
}

TEST_F(Surroundings, NothingIsLostWhereNobodyReadsTheProgress) {
  const std::pair<const char*, std::function<void()>> deaths[] = {
      {"full", [] { become_full(STDERR_FILENO); }},
      {"pipe", [] { become_pipe_without_reader(STDERR_FILENO); }},
      {"terminal", [] { become_dead_terminal(STDERR_FILENO); }},
      {"closed", [] { close(STDERR_FILENO); }},
      {"all-closed", [] {
         for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) close(descriptor);
       }}};
  for (const auto& [name, death] : deaths) {
    // With a warning, which must go into the log and nowhere else.
    const auto result = program.run_among(run_of(name, {"--set", "training.batch=5000"}), death);
    EXPECT_EQ(result.code, 0) << name;
    expect_whole(name);
    EXPECT_NE(text_of_file(folder / name / "log.jsonl")
                  .find("\"event\":\"warning\",\"message\":\"rat: model first: training.batch 5000"),
              std::string::npos)
        << name;
  }
}

TEST_F(Surroundings, ATerminalThatDiesWhileTrainingDoesNotEndIt) {
  // Its master end closes as soon as the first bar has been drawn.
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_TRUE(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
  const std::string terminal = ptsname(master);
  const pid_t child = fork();
  if (child == 0) {
    close(master);
    const int slave = open(terminal.c_str(), O_RDWR | O_NOCTTY);
    dup2(slave, STDERR_FILENO);
    if (chdir(folder.path().c_str()) == 0)
      execl(IDEM_PROGRAM, IDEM_PROGRAM, "run", "study.json", "--out", "out", "--device", "cpu", "--set",
            "training.epochs=50", nullptr);
    _exit(127);
  }
  std::string shown;
  char buffer[512];
  for (ssize_t n; shown.find("epoch ") == std::string::npos && (n = read(master, buffer, sizeof buffer)) > 0;)
    shown.append(buffer, to_size(n));
  close(master);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status << shown;
  expect_whole("out");
}

TEST_F(Surroundings, AResultThatCannotBeWrittenIsAnError) {
  ASSERT_EQ(program.run(run_of("out")).code, 0);
  const std::string model = "out/runs/rat-first-s1-f0/model.safetensors";
  const std::vector<std::vector<std::string>> commands = {{"check", "study.json"},
                                                          {"devices"},
                                                          {"reference"},
                                                          {"--help"},
                                                          {"--version"},
                                                          {"report", "out"},
                                                          {"run", "--help"},
                                                          {"data", "info", "study.json"},
                                                          {"transform", model, "study.json", "--device", "cpu"}};
  for (const auto& command : commands) {
    expect_one_line(program.run_among(command, [] { become_full(STDOUT_FILENO); }), 3,
                    "the result cannot be written to stdout (No space left on device)");
    expect_one_line(program.run_among(command, [] { close(STDOUT_FILENO); }), 3,
                    "the result cannot be written to stdout (");
    const auto closed = program.run_among(command, [] { become_pipe_without_reader(STDOUT_FILENO); });
    EXPECT_EQ(closed.code, 141) << command.front();
    EXPECT_EQ(closed.errors, "") << command.front();
  }
}

// ---- limits ----

void limit(int what, rlim_t amount) {
  const rlimit both{amount, amount};
  setrlimit(static_cast<decltype(RLIMIT_AS)>(what), &both);
}

TEST_F(Surroundings, LittleMemoryEndsTheProgramOrDoesNotMatter) {
  // Under each limit the program ends by itself: one that asks for memory for ever is killed for its CPU time.
  const auto run_within = [&](rlim_t mb, const std::vector<std::string>& arguments) {
    return program.run_among(arguments, [&] {
      limit(RLIMIT_CPU, 30);
      limit(RLIMIT_AS, mb * 1000 * 1024);
    });
  };
  // What the system takes to load the program at all: CUDA's libraries are large.
  rlim_t loaded_mb = 20;
  while (loaded_mb < 4000 && run_within(loaded_mb, {"--version"}).code != 0) loaded_mb += 20;
  for (const rlim_t more_mb : {20, 40, 80, 120, 160, 220, 280, 450}) {
    const std::string out = std::to_string(more_mb);
    const auto result = run_within(loaded_mb + more_mb, run_of(out));
    EXPECT_TRUE(result.code == 0 || result.code == 4) << more_mb << ": " << result.code << " " << result.errors;
    if (result.code == 0) expect_whole(out);
    if (result.code != 4) continue;
    const auto last_line = result.errors.rfind('\n', result.errors.size() - 2);
    EXPECT_EQ(result.errors.find("idem: ", last_line == std::string::npos ? 0 : last_line),
              last_line == std::string::npos ? 0 : last_line + 1)
        << result.errors;
  }
  expect_one_line(run_within(loaded_mb + 100, run_of("scarce")), 4,
                  "OpenBLAS's matrix products need 128 MiB of address space for each of 2 threads; raise the limit "
                  "(ulimit -v), or lower --threads");
}

TEST_F(Surroundings, AShortFileLimitIsAWriteThatFails) {
  for (const rlim_t bytes : {rlim_t{100}, rlim_t{3000}, rlim_t{9000}}) {
    const std::string out = std::to_string(bytes);
    const auto result = program.run_among(run_of(out, {"--quiet"}), [&] { limit(RLIMIT_FSIZE, bytes); });
    EXPECT_EQ(result.code, 3) << result.errors;
    EXPECT_NE(result.errors.find("cannot be written (File too large)"), std::string::npos) << result.errors;
    for (const auto& entry : fs::recursive_directory_iterator(folder / out))
      EXPECT_FALSE(entry.path().string().ends_with(".partial")) << entry.path();
    EXPECT_EQ(program.run(run_of(out, {"--resume"})).code, 0);
    expect_whole(out);
  }
}

// ---- signals ----

TEST_F(Surroundings, EverySignalThatMeansTheEndEndsAfterTheEpochAndKeepsWhatIsFinished) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU, SIGALRM}) {
    const std::string out = std::to_string(signal);
    const std::vector<std::string> endless = {"--set", "models.1.training={\"epochs\":100000}"};
    const auto result = program.run_among(run_of(out, endless), {}, {{"epoch 1/100000", signal}});
    EXPECT_EQ(result.code, 5) << signal << result.errors;
    EXPECT_NE(result.errors.find("interrupted: 1 of 2 runs are finished and kept"), std::string::npos) << result.errors;
    EXPECT_TRUE(fs::exists(folder / out / "runs/rat-first-s1-f0/model.safetensors"));
  }
}

TEST_F(Surroundings, ASignalBeforeTrainingLeavesAFolderThatResumes) {
  const auto result = program.run_among(run_of("out"), {}, {{"runs to train on", SIGTERM}});
  EXPECT_EQ(result.code, 5) << result.errors;
  EXPECT_EQ(program.run(run_of("out", {"--resume"})).code, 0);
  expect_whole("out");
}

TEST_F(Surroundings, AHangUpThatWasIgnoredFromTheStartIsIgnored) {
  const auto result = program.run_among(run_of("out"), [] { ::signal(SIGHUP, SIG_IGN); }, {{"epoch 1/2", SIGHUP}});
  EXPECT_EQ(result.code, 0) << result.errors;
  expect_whole("out");
}

TEST_F(Surroundings, BrokenPipesAreNoReasonToEnd) {
  const auto result = program.run_among(run_of("out"), {}, {{"epoch 1/2", SIGPIPE}});
  EXPECT_EQ(result.code, 0) << result.errors;
}

TEST_F(Surroundings, ASecondSignalEndsAtOnceButNotOneThatSystemsRepeat) {
  // Epochs of seconds, so that the second signal comes within one.
  const std::vector<std::string> slow = {"--set", "training={\"batch\":1,\"epochs\":100000}", "--set",
                                         "model.objective={\"name\":\"ci-ivae/paper\",\"samples\":2000}"};
  for (const auto& [first, second] :
       {std::pair{SIGINT, SIGINT}, {SIGTERM, SIGTERM}, {SIGHUP, SIGTERM}, {SIGUSR1, SIGUSR1}}) {
    const auto result = program.run_among(run_of(std::to_string(first * 100 + second), slow), {},
                                          {{"epoch 1/", first}, {"interrupted: ending", second}});
    EXPECT_EQ(result.code, 128 + second) << result.errors;
  }
  for (const int repeated : {SIGHUP, SIGXCPU}) {
    const auto result = program.run_among(run_of(std::to_string(repeated), slow), {},
                                          {{"epoch 1/", repeated}, {"interrupted: ending", repeated}});
    EXPECT_EQ(result.code, 5) << result.errors;
  }
}

// ---- damage ----

TEST_F(Surroundings, AFlippedDigitOfTheMetricsIsToldWithAdviceThatWorks) {
  ASSERT_EQ(program.run(run_of("out")).code, 0);
  const fs::path path = folder / "out/metrics.json";
  const std::string whole = text_of_file(path);
  // As the header of metrics_file.h says.
  std::smatch line;
  ASSERT_TRUE(std::regex_search(whole, line, std::regex("  \"crc32\": \"(.{8})\",\n")));
  const std::string rest = std::string(line.prefix()) + std::string(line.suffix());
  EXPECT_EQ(std::stoul(line[1], nullptr, 16), crc32_z(0, reinterpret_cast<const Bytef*>(rest.data()), rest.size()));

  std::string damaged = whole;
  char& digit = damaged[damaged.find_first_of("0123456789", damaged.find("\"position_r2\": ") + 17)];
  digit = digit == '1' ? '2' : '1';
  write_file_bytes(path, damaged);
  for (const auto& arguments : {run_of("out", {"--resume"}), std::vector<std::string>{"report", "out"}}) {
    expect_one_line(program.run(arguments), 3,
                    "out/metrics.json: was damaged or changed (its crc32 does not match); put a whole copy back");
    EXPECT_EQ(text_of_file(path), damaged);
  }
  // The three ways out.
  std::string accepted = damaged;
  accepted.erase(accepted.find(line[0]), line[0].length());
  write_file_bytes(path, accepted);
  EXPECT_EQ(program.run({"report", "out"}).code, 0);
  auto resumed = program.run(run_of("out", {"--resume"}));
  EXPECT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_NE(resumed.errors.find("0 of 2 runs to train"), std::string::npos) << resumed.errors;
  write_file_bytes(path, whole);
  EXPECT_EQ(program.run({"report", "out"}).code, 0);
  fs::remove(path);
  resumed = program.run(run_of("out", {"--resume"}));
  EXPECT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_NE(resumed.errors.find("2 of 2 runs to train"), std::string::npos) << resumed.errors;
  expect_whole("out");

  for (const std::string nonsense : {"[]", "{\"runs\": [1]}", "{\"runs\": [{\"ruo\": 1}]}", "{\"runs\": 3}", "{"}) {
    write_file_bytes(path, nonsense);
    expect_one_line(program.run(run_of("out", {"--resume"})), 3, "out/metrics.json: ");
  }
}

TEST_F(Surroundings, ResumeRemovesWhatKilledRunsLeftAndNothingElse) {
  ASSERT_EQ(program.run(run_of("out")).code, 0);
  const fs::path out = folder / "out", run = out / "runs/rat-first-s1-f0";
  fs::create_directory(out / "runs/other");
  const fs::path strays[] = {out / "metrics.json.partial", out / "config.json.partial",
                             run / "latents.npz.partial",  run / "model.safetensors.partial",
                             run / "latents.npz.a1b2c3",   run / "latents.npz.Ab12Cd"};
  const fs::path others[] = {out / "notes.partial", run / "notes.partial", out / "runs/other/latents.npz.partial",
                             run / "latents.npz.backup", run / "latents.npz.backup2"};
  for (const auto& path : strays) write_file_bytes(path, "PK half");
  for (const auto& path : others) write_file_bytes(path, text_of_file(run / "latents.npz"));
  ASSERT_EQ(program.run(run_of("out", {"--resume"})).code, 0);
  for (const auto& path : strays) EXPECT_FALSE(fs::exists(path)) << path;
  for (const auto& path : others) EXPECT_TRUE(fs::exists(path)) << path;

  // Killed before it had a configuration: new and resumed runs take the folder.
  for (const char* resume : {"--quiet", "--resume"}) {
    const fs::path early = folder / (std::string("early") + resume);
    fs::create_directories(early / "runs");
    std::ofstream(early / "config.json.partial") << "{";
    const auto result = program.run(run_of(early.filename(), {resume}));
    EXPECT_EQ(result.code, 0) << result.errors;
  }
}

TEST_F(Surroundings, ADamagedLineOfTheLogIsToldByReportAndResume) {
  ASSERT_EQ(program.run(run_of("out")).code, 0);
  const std::string log = text_of_file(folder / "out/log.jsonl");
  write_file_bytes(folder / "out/log.jsonl",
                   log.substr(0, log.find('\n') + 1) + "{\"event\":\"epo\xE4\n" + log.substr(log.find('\n') + 1));
  for (const auto& arguments : {std::vector<std::string>{"report", "out"}, run_of("out", {"--resume"})}) {
    const auto result = program.run(arguments);
    EXPECT_EQ(result.code, 0) << result.errors;
    EXPECT_NE(result.errors.find("warning: log.jsonl: line 2 is damaged and left out"), std::string::npos)
        << result.errors;
    EXPECT_NE(text_of_file(folder / "out/report.html").find("log.jsonl: line 2 is damaged and left out"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace idem
