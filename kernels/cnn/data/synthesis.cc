#include "kernels/cnn/data/synthesis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/cnn/random.h"

namespace potluck::cnn {
namespace {

constexpr int kSide = 28;
constexpr int kPieces = 6;  // Straight pieces a curve is drawn with.

struct Point {
  float x = 0, y = 0;
};

// Quadratic Bezier curves, one after the other: end, control, end, control, end, ... in a box of 1 x 1, y downwards.
using Stroke = std::vector<Point>;
using Glyph = std::vector<Stroke>;

Point Middle(Point a, Point b) { return {(a.x + b.x) / 2, (a.y + b.y) / 2}; }

// Straight from point to point.
Stroke Line(const std::vector<Point>& points) {
  Stroke stroke = {points[0]};
  for (size_t i = 1; i < points.size(); ++i) {
    stroke.push_back(Middle(points[i - 1], points[i]));
    stroke.push_back(points[i]);
  }
  return stroke;
}

// The ways in which people write each digit.
const std::array<std::vector<Glyph>, 10>& Glyphs() {
  static const auto* glyphs = new std::array<std::vector<Glyph>, 10>{{
      {{{{.5F, 0}, {.9F, 0}, {.88F, .5F}, {.9F, 1}, {.5F, 1}, {.1F, 1}, {.12F, .5F}, {.1F, 0}, {.5F, 0}}},
       {{{.6F, .02F}, {.1F, .1F}, {.15F, .6F}, {.2F, 1}, {.5F, 1}, {.9F, .95F}, {.85F, .4F}, {.8F, 0}, {.45F, .05F}}}},
      {{Line({{.5F, 0}, {.5F, 1}})},
       {Line({{.3F, .2F}, {.52F, 0}, {.52F, 1}})},
       {Line({{.3F, .2F}, {.52F, 0}, {.52F, 1}}), Line({{.25F, 1}, {.8F, 1}})}},
      {{{{.12F, .25F}, {.15F, 0}, {.5F, 0}, {.88F, 0}, {.85F, .3F}, {.8F, .55F}, {.12F, 1}, {.5F, 1}, {.9F, 1}}},
       {{{.15F, .15F},
         {.4F, -.05F},
         {.65F, .05F},
         {.95F, .2F},
         {.6F, .6F},
         {.35F, .9F},
         {.2F, .92F},
         {.05F, .8F},
         {.3F, .8F},
         {.6F, .9F},
         {.95F, .95F}}}},
      {{{{.15F, .12F},
         {.3F, 0},
         {.5F, 0},
         {.85F, 0},
         {.82F, .25F},
         {.8F, .47F},
         {.42F, .48F},
         {.88F, .48F},
         {.88F, .75F},
         {.88F, 1},
         {.5F, 1},
         {.25F, 1},
         {.12F, .86F}}},
       {{{.15F, .02F},
         {.5F, 0},
         {.85F, 0},
         {.65F, .2F},
         {.45F, .42F},
         {.9F, .42F},
         {.88F, .7F},
         {.85F, 1},
         {.45F, 1},
         {.25F, 1},
         {.12F, .9F}}}},
      {{Line({{.62F, 0}, {.1F, .65F}, {.92F, .65F}}), Line({{.68F, .3F}, {.66F, 1}})},
       {Line({{.2F, 0}, {.15F, .5F}, {.85F, .5F}}), Line({{.8F, 0}, {.75F, 1}})}},
      {{Line({{.85F, 0}, {.25F, 0}, {.2F, .45F}}),
        {{.2F, .45F}, {.5F, .35F}, {.7F, .45F}, {.95F, .6F}, {.8F, .85F}, {.6F, 1.08F}, {.12F, .9F}}},
       {{{.85F, .02F},
         {.5F, .05F},
         {.3F, .02F},
         {.25F, .2F},
         {.2F, .4F},
         {.8F, .4F},
         {.8F, .7F},
         {.8F, 1},
         {.45F, 1},
         {.3F, 1},
         {.15F, .92F}}}},
      {{{{.7F, 0},
         {.2F, .2F},
         {.15F, .65F},
         {.12F, 1},
         {.5F, 1},
         {.88F, 1},
         {.85F, .7F},
         {.8F, .45F},
         {.5F, .47F},
         {.25F, .5F},
         {.16F, .7F}}},
       {{{.5F, 0},
         {.2F, .3F},
         {.2F, .7F},
         {.25F, 1},
         {.55F, 1},
         {.85F, .95F},
         {.8F, .72F},
         {.75F, .5F},
         {.5F, .55F},
         {.3F, .6F},
         {.22F, .78F}}}},
      {{{{.1F, .05F}, {.5F, .04F}, {.88F, .05F}, {.5F, .5F}, {.4F, 1}}},
       {{{.1F, .08F}, {.5F, .02F}, {.88F, .05F}, {.55F, .5F}, {.45F, 1}}, Line({{.28F, .52F}, {.78F, .5F}})}},
      {{{{.5F, .47F},
         {.12F, .42F},
         {.2F, .2F},
         {.25F, 0},
         {.5F, 0},
         {.78F, 0},
         {.8F, .2F},
         {.85F, .42F},
         {.5F, .47F},
         {.08F, .55F},
         {.12F, .78F},
         {.15F, 1},
         {.5F, 1},
         {.88F, 1},
         {.88F, .78F},
         {.9F, .55F},
         {.5F, .47F}}},
       {{{.8F, .1F},
         {.5F, -.08F},
         {.25F, .12F},
         {.1F, .35F},
         {.5F, .5F},
         {.95F, .65F},
         {.8F, .85F},
         {.5F, 1.1F},
         {.2F, .88F},
         {.1F, .65F},
         {.5F, .48F},
         {.85F, .3F},
         {.8F, .1F}}}},
      {{{{.82F, .3F},
         {.8F, .02F},
         {.5F, 0},
         {.15F, 0},
         {.15F, .3F},
         {.15F, .55F},
         {.45F, .55F},
         {.8F, .55F},
         {.82F, .3F},
         {.85F, .7F},
         {.6F, 1}}},
       {{{.8F, .25F},
         {.7F, 0},
         {.45F, .02F},
         {.15F, .05F},
         {.18F, .3F},
         {.25F, .5F},
         {.5F, .48F},
         {.75F, .45F},
         {.8F, .25F}},
        Line({{.8F, .1F}, {.78F, 1}})}},
  }};
  return *glyphs;
}

// The random numbers of one sample, one after the other.
class Draws {
 public:
  Draws(uint64_t seed, uint32_t set, uint32_t sample) : seed_(seed), set_(set), sample_(sample) {}

  uint32_t Word() {
    if (next_ % 4 == 0) random_ = Philox(seed_, next_ / 4, sample_, set_, Word3(Purpose::kSynthesis));
    return random_.word[next_++ % 4];
  }
  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>(uint64_t{Word()} * bound >> 32); }
  float Between(float low, float high) { return low + (high - low) * UnitFloat(Word()); }
  // Around 0, near it more often than far: within -1 and 1.
  float Near() { return (Between(-1, 1) + Between(-1, 1)) / 2; }

 private:
  const uint64_t seed_;
  const uint32_t set_, sample_;
  uint32_t next_ = 0;
  Philox4 random_{};
};

// From the box of a glyph to pixels.
struct Affine {
  float xx = 1, xy = 0, yx = 0, yy = 1, x0 = 0, y0 = 0;

  Point operator()(Point p) const {
    const float x = p.x - .5F, y = p.y - .5F;
    return {xx * x + xy * y + x0, yx * x + yy * y + y0};
  }
};

Affine DrawAffine(Draws& draws) {
  const float height = 19 + 3 * draws.Near(), width = 14 + 4 * draws.Near();
  Affine affine;
  affine.xx = width;
  affine.xy = -height * .35F * draws.Near();  // Slant.
  affine.yx = width * .25F * draws.Near();    // Tilt.
  affine.yy = height;
  affine.x0 = (kSide - 1) / 2.0F + 2.5F * draws.Near();
  affine.y0 = (kSide - 1) / 2.0F + 2.5F * draws.Near();
  return affine;
}

float SquaredDistance(Point p, Point a, Point b) {
  const float dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  float along = length > 0 ? ((p.x - a.x) * dx + (p.y - a.y) * dy) / length : 0;
  along = std::clamp(along, 0.0F, 1.0F);
  const float x = p.x - (a.x + along * dx), y = p.y - (a.y + along * dy);
  return x * x + y * y;
}

using Distances = std::array<float, kSide * kSide>;  // Squared, to the nearest stroke.

void DrawLine(Point a, Point b, float reach, Distances& nearest) {
  const auto low = [&](float s, float t) { return std::clamp(static_cast<int>(std::min(s, t) - reach), 0, kSide); };
  const auto high = [&](float s, float t) {
    return std::clamp(static_cast<int>(std::max(s, t) + reach) + 2, 0, kSide);
  };
  for (int y = low(a.y, b.y); y < high(a.y, b.y); ++y) {
    for (int x = low(a.x, b.x); x < high(a.x, b.x); ++x) {
      float& distance = nearest[static_cast<size_t>(y * kSide + x)];
      distance = std::min(distance, SquaredDistance({static_cast<float>(x), static_cast<float>(y)}, a, b));
    }
  }
}

void DrawStroke(const Stroke& stroke, const Affine& affine, float reach, Draws& draws, Distances& nearest) {
  std::vector<Point> points;
  for (const Point p : stroke) points.push_back(affine({p.x + .07F * draws.Near(), p.y + .07F * draws.Near()}));
  for (size_t i = 0; i + 2 < points.size(); i += 2) {
    Point from = points[i];
    for (int piece = 1; piece <= kPieces; ++piece) {
      const float t = static_cast<float>(piece) / kPieces, s = 1 - t;
      const Point to = {s * s * points[i].x + 2 * s * t * points[i + 1].x + t * t * points[i + 2].x,
                        s * s * points[i].y + 2 * s * t * points[i + 1].y + t * t * points[i + 2].y};
      DrawLine(from, to, reach, nearest);
      from = to;
    }
  }
}

void DrawDigit(uint32_t digit, Draws& draws, uint8_t* pixels) {
  const std::vector<Glyph>& ways = Glyphs()[digit];
  const Glyph& glyph = ways[draws.Below(static_cast<uint32_t>(ways.size()))];
  const Affine affine = DrawAffine(draws);
  const float radius = draws.Between(.6F, 1.6F), edge = draws.Between(.7F, 1.3F);
  const float ink = draws.Between(180, 255), noise = draws.Between(0, 30);
  Distances nearest;
  nearest.fill(1e6F);
  for (const Stroke& stroke : glyph) DrawStroke(stroke, affine, radius + edge, draws, nearest);
  for (size_t i = 0; i < nearest.size(); ++i) {
    const float cover = std::clamp((radius + edge - std::sqrt(nearest[i])) / edge, 0.0F, 1.0F);
    const float value = ink * cover + noise * draws.Near();
    pixels[i] = static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F));
  }
}

DataSet DrawSet(uint64_t seed, uint32_t set, uint32_t samples) {
  DataSet data{.name = "synthetic digits", .shape = {1, kSide, kSide}, .classes = 10, .pixels = {}, .labels = {}};
  data.pixels.resize(samples * data.shape.size());
  for (uint32_t sample = 0; sample < samples; ++sample) {
    Draws draws(seed, set, sample);
    const uint32_t digit = draws.Below(10);
    DrawDigit(digit, draws, data.pixels.data() + sample * data.shape.size());
    data.labels.push_back(static_cast<uint16_t>(digit));
  }
  return data;
}

}  // namespace

DataPair DrawDigits(const SynthesisOptions& options) {
  return {.train = DrawSet(options.seed, 0, options.train),
          .test = DrawSet(options.seed, 1, options.test),
          .format = "idx",
          .files = {}};
}

}  // namespace potluck::cnn
