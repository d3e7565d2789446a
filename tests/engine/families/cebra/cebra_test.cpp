#include "engine/families/cebra/cebra.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kernels/common/to_size.h"

namespace idem {
namespace {

CebraDesign design_of(std::int32_t window, std::int32_t n_neurons, std::int32_t width, std::int32_t n_features,
                      bool is_normalised = true) {
  return {.n_neurons = n_neurons,
          .n_features = n_features,
          .window = window,
          .width = width,
          .is_normalised = is_normalised};
}

std::int64_t n_parameters(const CebraDesign& design) {
  const auto device = make_cpu_device(1);
  return Cebra<float>(*device, design, 1, {.batch = 2}, false, {1}).parameters().layout().n_parameters();
}

TEST(Cebra, HasTheParametersOfThePublishedEncoders) {
  EXPECT_EQ(n_parameters(design_of(1, 120, 32, 3)), 5507);
  EXPECT_EQ(n_parameters(design_of(1, 120, 32, 3, false)), 21903);  // offset1-model-mse
  EXPECT_EQ(n_parameters(design_of(5, 120, 32, 3)), 11011);
  EXPECT_EQ(n_parameters(design_of(10, 120, 32, 3)), 17315);
  EXPECT_EQ(n_parameters(design_of(10, 120, 32, 3, false)), 17315);
  EXPECT_EQ(n_parameters(design_of(36, 120, 32, 3)), 57667);
  auto learned = design_of(10, 120, 32, 3);
  learned.learns_temperature = true;
  EXPECT_EQ(n_parameters(learned), 17316);
}

// The published vectors: element k (row-major) of parameter tensor i is 0.3 sin(0.37 k + i), of the input (neuron by
// time) cos(0.11 k).
std::vector<double> golden_embedding(std::int32_t window, bool is_normalised = true) {
  const auto device = make_cpu_device(1);
  constexpr std::int32_t kBatch = 2, kRows = 3 * kBatch, kNeurons = 4;
  Cebra<double> model(*device, design_of(window, kNeurons, 6, 3, is_normalised), 1, {.batch = kBatch}, false, {1});
  NamedTensors tensors;
  int i = 0;
  for (const auto& slot : model.parameters().layout().slots()) {
    NamedTensor tensor;
    for (std::int64_t k = 0; k < slot.size(); ++k)
      tensor.values.push_back(0.3 * std::sin(0.37 * static_cast<double>(k) + i));
    tensors[slot.name] = tensor;
    ++i;
  }
  model.parameters().set(0, tensors);
  auto x = model.x().memory().download();
  for (std::int32_t bin = 0; bin < window; ++bin)
    for (std::int32_t neuron = 0; neuron < kNeurons; ++neuron)  // the last row of the batch
      x[to_size((bin * kRows + kRows - 1) * padded(kNeurons) + neuron)] = std::cos(0.11 * (neuron * 10 + bin));
  model.x().memory().upload(x);
  model.embed({});
  const double* row = model.embedding().row(0, kRows - 1);
  return {row, row + 3};
}

TEST(Cebra, EncodesTheGoldenWindowAsPublished) {
  const std::vector<double> ten = golden_embedding(10), five = golden_embedding(5),
                            want_ten = {0.584890, 0.604964, 0.540299}, want_five = {-0.229120, -0.969390, 0.088246};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(ten[i], want_ten[i], 1e-6);
    EXPECT_NEAR(five[i], want_five[i], 1e-6);
  }
}

// One layer of the weights above, the i-th and (i + 1)-th tensor, written out.
std::vector<double> golden_layer(const std::vector<double>& x, int i, std::size_t n_out, bool is_activated) {
  std::vector<double> y(n_out);
  for (std::size_t out = 0; out < n_out; ++out) {
    y[out] = 0.3 * std::sin(0.37 * static_cast<double>(out) + i + 1);
    for (std::size_t in = 0; in < x.size(); ++in)
      y[out] += 0.3 * std::sin(0.37 * static_cast<double>(out * x.size() + in) + i) * x[in];
    if (is_activated) y[out] *= 0.5 * (1 + std::erf(y[out] / std::sqrt(2.0)));
  }
  return y;
}

TEST(Cebra, EncodesOneBinByThreeLayersOfGelusAndALinearOne) {
  for (const bool is_normalised : {true, false}) {
    std::vector<double> want;
    for (int neuron = 0; neuron < 4; ++neuron) want.push_back(std::cos(0.11 * (neuron * 10)));
    int tensor = 0;
    for (const std::size_t width :
         is_normalised ? std::vector<std::size_t>{6, 6, 3} : std::vector<std::size_t>{90, 90, 30}) {
      want = golden_layer(want, tensor, width, true);
      tensor += 2;
    }
    want = golden_layer(want, tensor, 3, false);
    const double length = is_normalised ? std::hypot(want[0], want[1], want[2]) : 1;
    const auto got = golden_embedding(1, is_normalised);
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(got[i], want[i] / length, 1e-12 * (1 + std::abs(want[i]))) << is_normalised;
  }
}

void fill(Rows<double> rows, std::int32_t member, std::int64_t n_rows, std::int64_t n_features,
          std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  for (std::int64_t row = 0; row < n_rows; ++row)
    for (std::int64_t feature = 0; feature < n_features; ++feature) rows.row(member, row)[feature] = normal(random);
}

// Of a model whose inputs are filled: along a random direction of each tensor of a member.
void expect_gradients_of_loss(Cebra<double>& model, std::int32_t n_members, std::int32_t member, std::int32_t run) {
  std::mt19937_64 random(31);
  const auto loss = [&] {
    model.forward({n_members}, false);
    return model.terms().loss.data()[run];
  };
  model.forward({n_members}, true);
  model.backward({n_members});
  const auto gradients = model.parameters().get_gradients(member), initial = model.parameters().get(member);
  std::normal_distribution<double> normal;
  for (const auto& [name, tensor] : initial) {
    double along = 0;
    auto up = initial, down = initial;
    constexpr double h = 1e-5;
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      const double direction = normal(random);
      along += direction * gradients.at(name).values[i];
      up.at(name).values[i] += h * direction;
      down.at(name).values[i] -= h * direction;
    }
    model.parameters().set(member, up);
    const double above = loss();
    model.parameters().set(member, down);
    const double want = (above - loss()) / (2 * h);
    model.parameters().set(member, initial);
    EXPECT_TRUE(std::fabs(along - want) <= 1e-7 * (1 + std::fabs(want)))
        << "member " << member << ", " << name << ": " << along << ", want " << want;
  }
}

TEST(Cebra, GradientsAgreeWithFiniteDifferencesForEveryVariant) {
  const auto device = make_cpu_device(2);
  for (const std::int32_t window : {1, 5}) {
    for (const bool is_hybrid : {false, true}) {
      for (const Similarity similarity : {Similarity::cosine, Similarity::euclidean}) {
        SCOPED_TRACE(testing::Message() << "window " << window << ", hybrid " << is_hybrid << ", similarity "
                                        << static_cast<int>(similarity));
        auto design = design_of(window, 4, 6, 5, similarity == Similarity::cosine);
        design.similarity = similarity;
        design.learns_temperature = true;
        design.n_behaviour_features = is_hybrid ? 3 : 0;
        Cebra<double> model(*device, design, 2, {.batch = 6}, true, {0.7, 1.4});
        std::mt19937_64 random(9);
        for (std::int32_t member = 0; member < 2; ++member) {
          model.initialise(member, 5, Initialisation::torch_linear);
          fill(model.x(), member, std::int64_t{window} * model.n_rows(), 4, random);
        }
        expect_gradients_of_loss(model, 2, 1, 1);
      }
    }
  }
}

TEST(Cebra, SessionsLearnFromOneInfoNceOverAllOfThem) {
  constexpr std::int32_t kSessions = 3, kRuns = 2, kMembers = kSessions * kRuns, kBatch = 4;
  const auto device = make_cpu_device(2);
  auto design = design_of(5, 4, 6, 3);
  design.learns_temperature = true;
  Cebra<double> model(*device, design, kMembers, {.batch = kBatch, .n_sessions = kSessions}, true, {0.7, 1.4});
  std::mt19937_64 random(9);
  std::vector<std::int32_t> source;
  for (std::int32_t member = 0; member < kMembers; ++member) {
    model.initialise(member, 5 + static_cast<std::uint64_t>(member), Initialisation::torch_linear);
    fill(model.x(), member, std::int64_t{5} * model.n_rows(), 4, random);
  }
  for (std::int32_t run = 0; run < kRuns; ++run) {
    std::vector<std::int32_t> dealt(kSessions * kBatch);
    std::iota(dealt.begin(), dealt.end(), 0);
    std::shuffle(dealt.begin(), dealt.end(), random);
    source.insert(source.end(), dealt.begin(), dealt.end());
  }
  model.source().upload(source);
  model.forward({kMembers}, false);

  // The loss written out for the second run.
  const auto embedding = model.embedding();
  const auto of = [&](std::int32_t session, std::int32_t list, std::int32_t k) {
    return embedding.row(kSessions + session, list * kBatch + k);
  };
  const auto similarity = [](const double* x, const double* y) {
    return (x[0] * y[0] + x[1] * y[1] + x[2] * y[2]) / 1.4;
  };
  constexpr std::int32_t n = kSessions * kBatch;
  double want = 0;
  for (std::int32_t i = 0; i < n; ++i) {
    const double* reference = of(i / kBatch, 0, i % kBatch);
    double sum = 0;
    for (std::int32_t j = 0; j < n; ++j) sum += std::exp(similarity(reference, of(j / kBatch, 1, j % kBatch)));
    const auto place = static_cast<std::int32_t>(std::find(source.begin() + n, source.end(), i) - (source.begin() + n));
    want += (std::log(sum) - similarity(reference, of(place / kBatch, 2, place % kBatch))) / n;
  }
  EXPECT_NEAR(model.terms().loss.data()[1], want, 1e-12);
  for (const std::int32_t member : {0, 1, 5}) expect_gradients_of_loss(model, kMembers, member, member / kSessions);
}

TEST(Cebra, TheHybridAddsTheInfoNceOfItsFirstFeaturesByBehaviourToThatOfAllFeaturesByTime) {
  constexpr std::int32_t kMembers = 2, kMember = 1, kBatch = 6;
  const auto device = make_cpu_device(2);
  auto design = design_of(5, 4, 6, 5);
  design.n_behaviour_features = 3;
  Cebra<double> model(*device, design, kMembers, {.batch = kBatch}, false, {0.7, 1.4});
  std::mt19937_64 random(9);
  for (std::int32_t member = 0; member < kMembers; ++member) {
    model.initialise(member, 5, Initialisation::torch_linear);
    fill(model.x(), member, std::int64_t{5} * model.n_rows(), 4, random);
  }
  model.forward({kMembers}, false);

  // Lists: references, negatives, positives by behaviour, positives in time.
  const auto of = [&](std::int32_t list, std::int32_t k) { return model.embedding().row(kMember, list * kBatch + k); };
  const auto info_nce = [&](std::int32_t n_features, std::int32_t positives) {
    const auto similarity = [&](const double* x, const double* y) {
      return std::inner_product(x, x + n_features, y, 0.0) / 1.4;
    };
    double loss = 0;
    for (std::int32_t i = 0; i < kBatch; ++i) {
      double sum = 0;
      for (std::int32_t j = 0; j < kBatch; ++j) sum += std::exp(similarity(of(0, i), of(1, j)));
      loss += (std::log(sum) - similarity(of(0, i), of(positives, i))) / kBatch;
    }
    return loss;
  };
  EXPECT_LT(std::inner_product(of(0, 0), of(0, 0) + 3, of(0, 0), 0.0),
            0.999);  // the slice is shorter than the embedding, and stays so
  EXPECT_NEAR(model.terms().loss.data()[kMember], info_nce(3, 2) + info_nce(5, 3), 1e-12);
  EXPECT_GT(std::fabs(model.terms().loss.data()[kMember] - info_nce(3, 3) - info_nce(5, 2)),
            1e-3);  // so that swapped positives would show
}

TEST(Cebra, ASessionOfFewerNeuronsBeginsAsAModelOfThatManyAndItsTrunkMayBeGiven) {
  const auto device = make_cpu_device(1);
  for (const std::int32_t window : {1, 5}) {
    const auto wide = design_of(window, 7, 6, 3), narrow = design_of(window, 4, 6, 3);
    Cebra<double> padded(*device, wide, 1, {.batch = 2}, true, {1}), own(*device, narrow, 1, {.batch = 2}, true, {1});
    padded.initialise(0, 8, Initialisation::glorot_uniform, 4);
    own.initialise(0, 8, Initialisation::glorot_uniform);
    const auto tensors = own.parameters().get(0);
    for (const auto& [name, tensor] : with_neurons(wide, padded.parameters().get(0), 4)) {
      EXPECT_EQ(tensor.values, tensors.at(name).values) << name;
      EXPECT_EQ(tensor.shape, tensors.at(name).shape) << name;
    }
    padded.initialise(0, 9, Initialisation::glorot_uniform, 4, &tensors);
    std::size_t n_kept = 0;
    for (const auto& [name, tensor] : with_neurons(wide, padded.parameters().get(0), 4))
      n_kept += tensor.values == tensors.at(name).values;
    EXPECT_EQ(n_kept, tensors.size() - 1);  // all but the first layer's weights (its bias begins at 0)
  }
}

TEST(Cebra, AStretchGivesTheLossAndGradientOfAllDrawsWindowByWindow) {
  constexpr std::int32_t kWindows = 9, kBatch = 40, kNeurons = 4, kLists = 4;
  for (const std::int32_t window : {1, 3, 4, 10}) {
    SCOPED_TRACE(testing::Message() << "window " << window);
    const auto device = make_cpu_device(2);
    auto design = design_of(window, kNeurons, 6, 5);
    design.n_behaviour_features = 3;
    design.learns_temperature = true;
    const std::int32_t n_bins = kWindows + window - 1;
    Cebra<double> each(*device, design, 1, {.batch = kBatch}, true, {0.5}),
        drawn(*device, design, 1, {.batch = kBatch, .n_stretch = n_bins}, true, {0.5}),
        weighed(*device, design, 1, {.batch = kBatch, .n_stretch = n_bins, .weighs_rows = true}, true, {0.5});
    ASSERT_EQ(drawn.n_rows(), kWindows);
    std::mt19937_64 random(4);
    fill(drawn.x(), 0, n_bins, kNeurons, random);
    weighed.x().memory().upload(drawn.x().memory().download());
    std::vector<std::int32_t> places, row_of(kWindows);
    std::iota(row_of.begin(), row_of.end(), 0);
    for (std::int32_t draw = 0; draw < kLists * kBatch; ++draw) {
      places.push_back(static_cast<std::int32_t>(random() % (kWindows - 1)));  // the last window is drawn by none
      for (std::int32_t bin = 0; bin < window; ++bin)
        std::copy_n(drawn.x().rows().row(0, places.back() + bin), kNeurons,
                    each.x().rows().row(0, bin * each.n_rows() + draw));
    }
    for (auto* model : {&drawn, &weighed}) {
      auto draws = model->draws();
      draws.n_rows = kWindows;
      draws.indices = places.data();
      draws.place_of = row_of.data();
      drawn_places(device->execution(), draws);
    }
    for (auto* model : {&each, &drawn, &weighed}) {
      model->initialise(0, 5, Initialisation::torch_linear);
      model->forward({}, true);
      model->backward({});
    }
    const auto want = each.parameters().get_gradients(0);
    for (auto* once : {&drawn, &weighed}) {
      EXPECT_NEAR(once->terms().loss.data()[0], each.terms().loss.data()[0], 1e-12);
      EXPECT_NEAR(once->terms().behaviour_alignment.data()[0], each.terms().behaviour_alignment.data()[0], 1e-12);
      const auto got = once->parameters().get_gradients(0);
      for (const auto& [name, tensor] : want)
        for (std::size_t i = 0; i < tensor.values.size(); ++i)
          EXPECT_NEAR(got.at(name).values[i], tensor.values[i], 1e-12) << name;
    }
  }
}

TEST(Cebra, RefusesImpossibleDesigns) {
  EXPECT_THROW(n_parameters(design_of(2, 4, 6, 3)), std::invalid_argument);
  EXPECT_THROW(n_parameters(design_of(10, 4, 6, kMostContrastiveFeatures + 1)), std::invalid_argument);
  EXPECT_THROW(n_parameters(design_of(10, 0, 6, 3)), std::invalid_argument);
  auto hybrid = design_of(10, 4, 6, 2);
  hybrid.n_behaviour_features = 3;
  EXPECT_THROW(n_parameters(hybrid), std::invalid_argument);
  const auto device = make_cpu_device(1);
  EXPECT_THROW(Cebra<float>(*device, design_of(10, 4, 6, 3), 1, {.batch = 2}, false, {0}), std::invalid_argument);
  EXPECT_THROW(Cebra<float>(*device, design_of(10, 4, 6, 3), 1, {.batch = 2, .n_stretch = 9}, false, {1}),
               std::invalid_argument);
}

}  // namespace
}  // namespace idem
