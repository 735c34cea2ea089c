// Parallel evaluation of a grid: polynomial ridge regression, five-fold cross-validated for every degree and penalty. The
// data are put once and shared by all tasks.
//
//   grid_search [--isolation process]
#include <fmt/format.h>

#include <cmath>
#include <mobula/base/random.hpp>
#include <mobula/core.hpp>
#include <vector>

struct Points {
  std::vector<double> x, y;
};

struct Score {
  int degree = 0;
  double penalty = 0, error = 0;
};

/// Solves the symmetric positive definite system a * w = b (row-major) by Cholesky's decomposition, in place.
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = a[i * n + j];
      for (size_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = i == j ? std::sqrt(sum) : sum / a[j * n + j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return b;
}

Score evaluate(const Points& points, int degree, double penalty) {
  constexpr size_t kFolds = 5;
  const size_t n = static_cast<size_t>(degree) + 1;
  double squares = 0;
  for (size_t fold = 0; fold < kFolds; ++fold) {
    std::vector<double> gram(n * n), moment(n), powers(n);
    const auto fill = [&](double x) {
      powers[0] = 1;
      for (size_t i = 1; i < n; ++i) powers[i] = powers[i - 1] * x;
    };
    for (size_t p = 0; p < points.x.size(); ++p) {
      if (p % kFolds == fold) continue;
      fill(points.x[p]);
      for (size_t i = 0; i < n; ++i) {
        moment[i] += powers[i] * points.y[p];
        for (size_t j = 0; j < n; ++j) gram[i * n + j] += powers[i] * powers[j];
      }
    }
    for (size_t i = 0; i < n; ++i) gram[i * n + i] += penalty;
    const std::vector<double> weights = solve(gram, moment);
    for (size_t p = fold; p < points.x.size(); p += kFolds) {
      fill(points.x[p]);
      double prediction = 0;
      for (size_t i = 0; i < n; ++i) prediction += weights[i] * powers[i];
      squares += (prediction - points.y[p]) * (prediction - points.y[p]);
    }
  }
  return {degree, penalty, std::sqrt(squares / static_cast<double>(points.x.size()))};
}

int main(int argc, char** argv) {
  mobula::Runtime rt(argc, argv);
  Points points;
  mobula::Random random(3);
  for (int i = 0; i < 400; ++i) {
    const double x = 2 * random.uniform() - 1;
    points.x.push_back(x);
    points.y.push_back(std::sin(4 * x) + 0.2 * random.normal());
  }
  const mobula::Ref<Points> shared = rt.put(points);
  std::vector<mobula::Ref<Score>> scores;
  for (int degree = 1; degree <= 12; ++degree) {
    for (double penalty : {1e-4, 1e-3, 1e-2, 1e-1, 1.0}) scores.push_back(rt.remote<evaluate>(shared, degree, penalty));
  }
  Score best{0, 0, HUGE_VAL};
  for (const Score& score : rt.get(scores)) {
    if (score.error < best.error) best = score;
  }
  fmt::print("best of {}: degree {}, penalty {}, error {:.6f}\n", scores.size(), best.degree, best.penalty, best.error);
}
