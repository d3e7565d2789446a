#include "host/profile/profile.h"

#include <gtest/gtest.h>

#include <regex>

#include <nlohmann/json.hpp>

#include "host/profile/profile_table.h"
#include "host/profile/step_figure.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "tests/host/profile/made_up_profile.h"
#include "tests/support/error_message.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

TEST(Profile, IsReadBackAsItWasWritten) {
  const TemporaryFolder folder;
  const Profile profile = made_up_profile();
  write_profile(folder.path() / "profile.json", profile);
  EXPECT_EQ(to_json(read_profile(folder.path())), to_json(profile));
  EXPECT_EQ(to_json(read_profile(folder.path() / "profile.json")), to_json(profile));
}

TEST(Profile, WhatIsNoneIsRefusedWithARemedy) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "profile.json";
  EXPECT_MESSAGE(DataError, read_profile(folder.path()),
                 "holds no profile.json; idem run --profile and idem bench --profile DIR write one");
  EXPECT_MESSAGE(DataError, read_profile(file), "profile.json: no such file");
  nlohmann::json whole = to_json(made_up_profile());
  for (const std::string& bytes :
       {std::string("[]"), std::string("{"), std::string("\xff"), whole.dump().substr(0, 200)}) {
    write_file_bytes(file, bytes);
    EXPECT_MESSAGE(DataError, read_profile(file), "; put a whole copy back, or make it anew with idem run or");
  }
  for (auto& [key, value] : whole.items()) {
    nlohmann::json without = whole;
    without.erase(key);
    write_file_bytes(file, without.dump());
    EXPECT_MESSAGE(DataError, read_profile(file), "is no whole profile (key '" + key + "' not");
  }
}

TEST(Profile, NumbersThatNothingCanHaveTakenAreRefused) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "profile.json";
  const auto refuses = [&](const char* place, const nlohmann::json& value, const char* told) {
    nlohmann::json damaged = to_json(made_up_profile());
    damaged[nlohmann::json::json_pointer(place)] = value;
    write_file_bytes(file, damaged.dump());
    EXPECT_MESSAGE(DataError, read_profile(file), told);
  };
  refuses("/steps/0/seconds", nlohmann::json::array(), "step/a/1 has no times; put a whole copy back");
  refuses("/steps/0/operations/1/seconds", nlohmann::json::array(), "step/a/1, adam has no times");
  refuses("/steps/0/operations/1/calls", -3, "step/a/1, adam holds -3, which nothing can have taken");
  refuses("/steps/0/operations/1/bytes", 1e308, "adam holds 1e+308");
  refuses("/phases/0/seconds", -1, "phase training holds -1");
  refuses("/roofs/copy_bytes_per_s", -1, "copy_bytes_per_s holds -1");
}

TEST(Profile, OfAResumedStudyHasWhatTheEarlierCallDid) {
  const Profile earlier = made_up_profile();
  Profile later = made_up_profile();
  later.steps[0].name = "step/b/1";
  later.phases.push_back({.name = "report", .seconds = 2, .peak_mib = 10});
  add_earlier(later, earlier);
  ASSERT_EQ(later.steps.size(), 2u);
  EXPECT_EQ(later.steps[1].name, "step/a/1");
  EXPECT_EQ(later.phases[0].seconds, 6);
  EXPECT_EQ(later.phases[1].seconds, 2);
  add_earlier(later, earlier);  // a step of both is the later one's
  EXPECT_EQ(later.steps.size(), 2u);
}

TEST(Profile, TheRoofOfWorkIsTheLongerOfItsTimes) {
  const Roofs roofs{.copy_bytes_per_s = 100, .multiply_add_flops_per_s = 5, .product_flops_per_s = 10};
  EXPECT_EQ(roofs.seconds({200, 10}), 2);
  EXPECT_EQ(roofs.seconds({200, 40}), 4);
  EXPECT_EQ(Roofs{}.seconds({200, 40}), 0);
}

TEST(Profile, ATableSaysRatesSharesAndHowKernelsAreStarted) {
  const std::string text =
      profile_text(made_up_profile(), {{"adam_kernel", {{"% of DRAM", "43.1"}, {"time", "2 us"}}}});
  for (const char* part : {"timed by nobody", "adam", "40.0 %", "10.0",
                           "132 blocks of 256 threads, 0.5 waves, 40 registers, "
                           "75 % of warps",
                           "ncu: % of DRAM 43.1 | time 2 us", "training", "peak memory", "300 MiB"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

// Of templates the one whose arguments are the same, however they are written; else any.
TEST(Profile, FiguresOfNcuAreThoseOfTheKernelsFirstLaunch) {
  Profile profile = made_up_profile();
  const std::vector<NcuKernel> of_ncu = {{"chain<(Precision)1, (int)2>", {{"time", "1 us"}}},
                                         {"chain<(Precision)0, (int)4>", {{"time", "2 us"}}},
                                         {"chain<(Precision)0, (int)4>", {{"time", "3 us"}}}};
  const auto shown = [&](const std::string& kernel) {
    profile.steps[0].operations[1].kernels[0].kernel = kernel;
    return profile_text(profile, of_ncu);
  };
  EXPECT_NE(shown("chain<(Precision)0, 4>").find("ncu: time 2 us\n"), std::string::npos);
  EXPECT_NE(shown("chain<(Precision)0, (int)4>").find("ncu: time 2 us\n"), std::string::npos);
  EXPECT_NE(shown("chain").find("ncu: time 1 us\n"), std::string::npos);
  EXPECT_EQ(shown("chain_of").find("ncu: time"), std::string::npos);
}

// Numbers of all circles and bars lie in the picture.
TEST(StepFigure, DrawsWhatIsThereAndSurvivesWhatIsNot) {
  Profile profile = made_up_profile();
  StepProfile& step = profile.steps[0];
  const std::string drawn = step_figure(step, profile.roofs);
  EXPECT_EQ(drawn.find("<svg "), 0u);
  EXPECT_NE(drawn.find("adam"), std::string::npos);
  step.name = "a <b> & \"c\"";
  step.operations.push_back(
      {.name = "nothing", .part = "limits", .seconds = {0, 0}, .calls = 0, .work = {}, .kernels = {}});
  for (const Roofs& roofs : {profile.roofs, Roofs{}})
    for (const auto& svg :
         {step_figure(step, roofs), step_figure(step, profile.steps[0], roofs), step_figure(StepProfile{}, roofs)}) {
      EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
      EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
      EXPECT_EQ(svg.find("<b>"), std::string::npos);
    }
}

std::vector<double> radii_of(const std::string& svg) {
  std::vector<double> radii;
  const std::regex circle("<circle [^>]* r=\"([^\"]*)\"");
  for (std::sregex_iterator at(svg.begin(), svg.end(), circle); at != std::sregex_iterator(); ++at)
    radii.push_back(std::stod((*at)[1]));
  return radii;
}

TEST(StepFigure, AreasAreSharesOfTheStep) {
  Profile profile = made_up_profile();
  auto& operations = profile.steps[0].operations;
  operations[0].seconds = {8e-6};
  operations[1].seconds = {2e-6};
  operations.push_back(operations[1]);
  operations[2].seconds = {1e-9};
  const auto radii = radii_of(step_figure(profile.steps[0], profile.roofs));
  ASSERT_EQ(radii.size(), 3u);
  EXPECT_NEAR(radii[0] / radii[1], 2, 0.02);
  EXPECT_EQ(radii[2], 1.5);
}

TEST(StepFigure, TheLegendHasTheNumbersOfTheCircles) {
  Profile profile = made_up_profile();
  auto& operations = profile.steps[0].operations;
  operations.insert(operations.begin(), operations[1]);  // too short for a number
  operations[0].name = "clear";
  operations[0].seconds = {1e-9};
  const std::string drawn = step_figure(profile.steps[0], profile.roofs);
  EXPECT_TRUE(std::regex_search(drawn, std::regex(">1</text>\n<text [^>]*>row_chain_forward<")));
  EXPECT_TRUE(std::regex_search(drawn, std::regex(">2</text>\n<text [^>]*>adam<")));
  EXPECT_EQ(drawn.find(">3</text>"), std::string::npos);
}

}  // namespace
}  // namespace idem
