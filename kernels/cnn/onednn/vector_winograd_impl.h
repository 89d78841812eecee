// Winograd's F(4x4, 3x3), in the vectors of vector_lanes.h; see vector_kernels.h.
//
// A group of tiles at a time, so that what lies between the steps stays in the second-level cache:
//   forward    v = B^T d B of each 6x6 window;  m = v u, a product of matrices a point;  y = A^T m A
//   backward   n = A dy A^T;  du += v^T n;  x = n u^T;  dinput += B x B^T
#pragma once

#include <cstring>

#include "kernels/cnn/onednn/vector_kernels.h"
#include "kernels/cnn/onednn/vector_lanes.h"

namespace potluck::cnn {
namespace {

constexpr size_t kPoints = kWinogradPoints;
// Floats of v and m together, of a group, at most: 560 KB.
constexpr size_t kGroupFloats = 140 * 1024;

// Tiles that are computed together: whole rows where that is possible.
inline size_t GroupTiles(const WinogradShape& s) {
  const size_t tiles = size_t{s.tiles_y()} * s.tiles_x();
  size_t most = kGroupFloats / (kPoints * (s.channels + s.filters));
  if (most < 6) most = 6;
  if (most >= tiles) return tiles;
  const size_t groups = (tiles + most - 1) / most;
  return (tiles + groups - 1) / groups;
}

inline size_t ScratchFloats(const WinogradShape& s) {
  return GroupTiles(s) * kPoints * (2 * size_t{s.channels} + s.filters);
}

// B^T d.
POTLUCK_INLINE void ToPoints(const Vec d[6], Vec t[6]) {
  const Vec four = Set(4), two = Set(2), five = Set(5);
  const Vec even = Fnma(four, d[2], d[4]), odd = Fnma(four, d[1], d[3]);
  const Vec even2 = Sub(d[4], d[2]), odd2 = Mul(two, Sub(d[3], d[1]));
  t[0] = Fma(four, d[0], Fnma(five, d[2], d[4]));
  t[1] = Add(even, odd);
  t[2] = Sub(even, odd);
  t[3] = Add(even2, odd2);
  t[4] = Sub(even2, odd2);
  t[5] = Fma(four, d[1], Fnma(five, d[3], d[5]));
}

// B t, its transpose.
POTLUCK_INLINE void FromPointsToInput(const Vec t[6], Vec d[6]) {
  const Vec four = Set(4), two = Set(2), five = Set(5);
  const Vec sum1 = Add(t[1], t[2]), difference1 = Sub(t[1], t[2]);
  const Vec sum2 = Add(t[3], t[4]), difference2 = Mul(two, Sub(t[3], t[4]));
  d[0] = Mul(four, t[0]);
  d[1] = Sub(Mul(four, Sub(t[5], difference1)), difference2);
  d[2] = Sub(Fnma(five, t[0], Sub(Zero(), Mul(four, sum1))), sum2);
  d[3] = Fnma(five, t[5], Add(difference1, difference2));
  d[4] = Add(t[0], Add(sum1, sum2));
  d[5] = t[5];
}

// A^T m.
POTLUCK_INLINE void ToOutput(const Vec m[6], Vec y[4]) {
  const Vec sum1 = Add(m[1], m[2]), difference1 = Sub(m[1], m[2]);
  const Vec sum2 = Add(m[3], m[4]), difference2 = Sub(m[3], m[4]);
  y[0] = Add(m[0], Add(sum1, sum2));
  y[1] = Fma(Set(2), difference2, difference1);
  y[2] = Fma(Set(4), sum2, sum1);
  y[3] = Add(m[5], Fma(Set(8), difference2, difference1));
}

// A y, its transpose.
POTLUCK_INLINE void FromOutput(const Vec y[4], Vec m[6]) {
  const Vec even1 = Add(y[0], y[2]), odd1 = Add(y[1], y[3]);
  const Vec even2 = Fma(Set(4), y[2], y[0]), odd2 = Fma(Set(8), y[3], Mul(Set(2), y[1]));
  m[0] = y[0];
  m[1] = Add(even1, odd1);
  m[2] = Sub(even1, odd1);
  m[3] = Add(even2, odd2);
  m[4] = Sub(even2, odd2);
  m[5] = y[3];
}

struct Tile {
  int32_t y, x;  // Of its first output.
};
inline Tile TileAt(const WinogradShape& s, size_t index) {
  return {static_cast<int32_t>(index / s.tiles_x() * 4), static_cast<int32_t>(index % s.tiles_x() * 4)};
}
inline bool IsInside(const WinogradShape& s, int32_t y, int32_t x) {
  return y >= 0 && x >= 0 && y + 6 <= static_cast<int32_t>(s.height) && x + 6 <= static_cast<int32_t>(s.width);
}

// v [36][tiles][channels] of tiles [first, first + tiles).
inline void TransformInput(const WinogradShape& s, const float* input, size_t first, size_t tiles, float* v) {
  const size_t plane = size_t{s.height} * s.width * kLanes, point = tiles * s.channels;
  const int32_t height = static_cast<int32_t>(s.height), width = static_cast<int32_t>(s.width);
  for (size_t t = 0; t < tiles; ++t) {
    const Tile tile = TileAt(s, first + t);
    const int32_t y0 = tile.y - static_cast<int32_t>(s.padding), x0 = tile.x - static_cast<int32_t>(s.padding);
    const bool inside = IsInside(s, y0, x0);
    for (size_t block = 0; block < s.channels / kLanes; ++block) {
      const float* const from = input + block * plane;
      alignas(64) float window[36 * kLanes];
      const float* base;
      size_t row;
      if (inside) {
        base = from + (static_cast<size_t>(y0) * s.width + static_cast<size_t>(x0)) * kLanes;
        row = size_t{s.width} * kLanes;
      } else {
        for (int32_t y = 0; y < 6; ++y) {
          for (int32_t x = 0; x < 6; ++x) {
            const int32_t yy = y0 + y, xx = x0 + x;
            const bool in = yy >= 0 && xx >= 0 && yy < height && xx < width;
            Store(window + (y * 6 + x) * kLanes,
                  in ? Load(from + (static_cast<size_t>(yy) * s.width + static_cast<size_t>(xx)) * kLanes) : Zero());
          }
        }
        base = window;
        row = 6 * kLanes;
      }
      Vec columns[6][6];
      for (int x = 0; x < 6; ++x) {
        Vec d[6], p[6];
        for (int y = 0; y < 6; ++y) d[y] = Load(base + y * row + x * kLanes);
        ToPoints(d, p);
        for (int y = 0; y < 6; ++y) columns[y][x] = p[y];
      }
      float* const to = v + t * s.channels + block * kLanes;
      for (int y = 0; y < 6; ++y) {
        Vec p[6];
        ToPoints(columns[y], p);
        for (int x = 0; x < 6; ++x) Store(to + (y * 6 + x) * point, p[x]);
      }
    }
  }
}

// The 4x4 outputs of one tile and block of filters, before the bias.
POTLUCK_INLINE void TileOutput(const float* m, size_t point, Vec y[4][4]) {
  Vec rows[4][6];
  for (int x = 0; x < 6; ++x) {
    Vec p[6], q[4];
    for (int i = 0; i < 6; ++i) p[i] = Load(m + (i * 6 + x) * point);
    ToOutput(p, q);
    for (int i = 0; i < 4; ++i) rows[i][x] = q[i];
  }
  for (int i = 0; i < 4; ++i) ToOutput(rows[i], y[i]);
}

inline void StoreTile(const WinogradShape& s, Tile tile, const Vec y[4][4], Vec bias, float* plane) {
  for (uint32_t i = 0; i < 4 && tile.y + i < s.out_height; ++i) {
    for (uint32_t j = 0; j < 4 && tile.x + j < s.out_width; ++j) {
      Vec value = Add(y[i][j], bias);
      if (s.relu) value = Max(Zero(), value);
      Store(plane + (size_t{tile.y + i} * s.out_width + tile.x + j) * kLanes, value);
    }
  }
}

// The largest of each 2x2 window, and where it was; what is not above `floor`, or dropped, came from nowhere. (That
// the bias is added and ReLU applied afterwards changes nothing.)
inline void PoolTile(const WinogradShape& s, Tile tile, const Vec y[4][4], Vec bias, const uint8_t* keep, float scale,
                     float* plane, uint8_t* route) {
  const uint32_t height = s.out_height / 2, width = s.out_width / 2;
  for (uint32_t i = 0; i < 2 && tile.y / 2 + i < height; ++i) {
    for (uint32_t j = 0; j < 2 && tile.x / 2 + j < width; ++j) {
      const size_t at = (size_t{tile.y / 2 + i} * width + tile.x / 2 + j) * kLanes;
      Vec best = Add(y[2 * i][2 * j], bias);
      VecI from = SetI(0);
      const auto consider = [&](Vec raw, int32_t place) POTLUCK_LAMBDA_INLINE {
        const Vec value = Add(raw, bias);
        from = SelectGreater(value, best, SetI(place), from);
        best = Max(best, value);
      };
      consider(y[2 * i][2 * j + 1], 1);
      consider(y[2 * i + 1][2 * j], 2);
      consider(y[2 * i + 1][2 * j + 1], 3);
      if (s.relu) {
        from = SelectGreater(best, Zero(), from, SetI(4));
        best = Max(Zero(), best);
      }
      if (keep != nullptr) {
        const VecI kept = LoadBytes(keep + at);
        best = OnlyWhereEqual(kept, SetI(1), Mul(best, Set(scale)));
        from = SelectEqual(kept, SetI(1), from, SetI(4));
      }
      Store(plane + at, best);
      StoreBytes(route + at, from);
    }
  }
}

inline void WinogradForward(const WinogradShape& s, const float* input, const float* u, const float* bias,
                            const uint8_t* keep, float scale, float* output, uint8_t* route, float* scratch) {
  const size_t all = size_t{s.tiles_y()} * s.tiles_x(), group = GroupTiles(s);
  const size_t vectors = s.filters / kLanes;
  const size_t out_plane =
      (s.pool ? size_t{s.out_height / 2} * (s.out_width / 2) : size_t{s.out_height} * s.out_width) * kLanes;
  float* const v = scratch;
  float* const m = scratch + group * kPoints * s.channels;
  for (size_t first = 0; first < all; first += group) {
    const size_t tiles = first + group <= all ? group : all - first;
    TransformInput(s, input, first, tiles, v);
    for (size_t p = 0; p < kPoints; ++p) {
      Multiply<false>(tiles, vectors, s.channels, v + p * tiles * s.channels, s.channels, 1,
                      u + p * s.channels * s.filters, s.filters, m + p * tiles * s.filters, s.filters);
    }
    for (size_t t = 0; t < tiles; ++t) {
      const Tile tile = TileAt(s, first + t);
      for (size_t block = 0; block < vectors; ++block) {
        Vec y[4][4];
        TileOutput(m + t * s.filters + block * kLanes, tiles * s.filters, y);
        const Vec b = Load(bias + block * kLanes);
        if (s.pool) {
          PoolTile(s, tile, y, b, keep == nullptr ? nullptr : keep + block * out_plane, scale,
                   output + block * out_plane, route + block * out_plane);
        } else {
          StoreTile(s, tile, y, b, output + block * out_plane);
        }
      }
    }
  }
}

// The gradient of the convolution's own output, a tile and block of filters: what the pool and ReLU let through.
inline void TileGradient(const WinogradShape& s, Tile tile, const float* output, const float* gradient,
                         const uint8_t* route, Vec scale, Vec dy[4][4]) {
  if (s.pool) {
    const uint32_t height = s.out_height / 2, width = s.out_width / 2;
    for (uint32_t i = 0; i < 2; ++i) {
      for (uint32_t j = 0; j < 2; ++j) {
        const bool in = tile.y / 2 + i < height && tile.x / 2 + j < width;
        const size_t at = in ? (size_t{tile.y / 2 + i} * width + tile.x / 2 + j) * kLanes : 0;
        const Vec g = in ? Mul(Load(gradient + at), scale) : Zero();
        const VecI from = LoadBytes(route + at);
        for (int32_t place = 0; place < 4; ++place) {
          dy[2 * i + static_cast<uint32_t>(place / 2)][2 * j + static_cast<uint32_t>(place % 2)] =
              OnlyWhereEqual(from, SetI(place), g);
        }
      }
    }
    return;
  }
  for (uint32_t i = 0; i < 4; ++i) {
    for (uint32_t j = 0; j < 4; ++j) {
      const bool in = tile.y + i < s.out_height && tile.x + j < s.out_width;
      const size_t at = in ? (size_t{tile.y + i} * s.out_width + tile.x + j) * kLanes : 0;
      Vec g = in ? Load(gradient + at) : Zero();
      if (s.relu) g = OnlyWherePositive(Load(output + at), g);
      dy[i][j] = g;
    }
  }
}

// n [36][tiles][filters]; adds to dbias.
inline void TransformGradient(const WinogradShape& s, const float* output, const float* gradient, const uint8_t* route,
                              float scale, size_t first, size_t tiles, float* n, float* dbias) {
  const size_t out_plane =
      (s.pool ? size_t{s.out_height / 2} * (s.out_width / 2) : size_t{s.out_height} * s.out_width) * kLanes;
  const size_t point = tiles * s.filters;
  for (size_t block = 0; block < s.filters / kLanes; ++block) {
    Vec bias = Load(dbias + block * kLanes);
    for (size_t t = 0; t < tiles; ++t) {
      Vec dy[4][4];
      TileGradient(s, TileAt(s, first + t), output == nullptr ? nullptr : output + block * out_plane,
                   gradient + block * out_plane, route == nullptr ? nullptr : route + block * out_plane, Set(scale),
                   dy);
      Vec rows[4];
      for (int i = 0; i < 4; ++i) rows[i] = Add(Add(dy[i][0], dy[i][1]), Add(dy[i][2], dy[i][3]));
      bias = Add(bias, Add(Add(rows[0], rows[1]), Add(rows[2], rows[3])));
      Vec columns[6][4];
      for (int x = 0; x < 4; ++x) {
        const Vec d[4] = {dy[0][x], dy[1][x], dy[2][x], dy[3][x]};
        Vec p[6];
        FromOutput(d, p);
        for (int y = 0; y < 6; ++y) columns[y][x] = p[y];
      }
      float* const to = n + t * s.filters + block * kLanes;
      for (int y = 0; y < 6; ++y) {
        Vec p[6];
        FromOutput(columns[y], p);
        for (int x = 0; x < 6; ++x) Store(to + (y * 6 + x) * point, p[x]);
      }
    }
    Store(dbias + block * kLanes, bias);
  }
}

// Adds B x B^T of each tile to its 6x6 window of dinput.
inline void AddToInput(const WinogradShape& s, const float* x, size_t first, size_t tiles, float* dinput) {
  const size_t plane = size_t{s.height} * s.width * kLanes, point = tiles * s.channels;
  for (size_t t = 0; t < tiles; ++t) {
    const Tile tile = TileAt(s, first + t);
    const int32_t y0 = tile.y - static_cast<int32_t>(s.padding), x0 = tile.x - static_cast<int32_t>(s.padding);
    const bool inside = IsInside(s, y0, x0);
    for (size_t block = 0; block < s.channels / kLanes; ++block) {
      Vec columns[6][6];
      for (int j = 0; j < 6; ++j) {
        Vec p[6], d[6];
        for (int i = 0; i < 6; ++i) p[i] = Load(x + (i * 6 + j) * point + t * s.channels + block * kLanes);
        FromPointsToInput(p, d);
        for (int i = 0; i < 6; ++i) columns[i][j] = d[i];
      }
      float* const to = dinput + block * plane;
      for (int32_t i = 0; i < 6; ++i) {
        const int32_t yy = y0 + i;
        if (!inside && (yy < 0 || yy >= static_cast<int32_t>(s.height))) continue;
        Vec d[6];
        FromPointsToInput(columns[i], d);
        float* const row = to + static_cast<ptrdiff_t>(yy) * static_cast<ptrdiff_t>(s.width) * ptrdiff_t{kLanes};
        for (int32_t j = 0; j < 6; ++j) {
          const int32_t xx = x0 + j;
          if (!inside && (xx < 0 || xx >= static_cast<int32_t>(s.width))) continue;
          float* const at = row + ptrdiff_t{xx} * ptrdiff_t{kLanes};
          Store(at, Add(Load(at), d[j]));
        }
      }
    }
  }
}

inline void WinogradBackward(const WinogradShape& s, const float* input, const float* ut, const float* output,
                             const float* gradient, const uint8_t* route, float scale, float* dinput, float* du,
                             float* dbias, float* scratch) {
  const size_t all = size_t{s.tiles_y()} * s.tiles_x(), group = GroupTiles(s);
  float* const v = scratch;
  float* const n = v + group * kPoints * s.channels;
  float* const x = n + group * kPoints * s.filters;
  if (dinput != nullptr) std::memset(dinput, 0, size_t{s.channels} * s.height * s.width * sizeof(float));
  for (size_t first = 0; first < all; first += group) {
    const size_t tiles = first + group <= all ? group : all - first;
    TransformGradient(s, output, gradient, route, scale, first, tiles, n, dbias);
    TransformInput(s, input, first, tiles, v);
    for (size_t p = 0; p < kPoints; ++p) {
      Multiply<true>(s.channels, s.filters / kLanes, tiles, v + p * tiles * s.channels, 1, s.channels,
                     n + p * tiles * s.filters, s.filters, du + p * s.channels * s.filters, s.filters);
    }
    if (dinput == nullptr) continue;
    for (size_t p = 0; p < kPoints; ++p) {
      Multiply<false>(tiles, s.channels / kLanes, s.filters, n + p * tiles * s.filters, s.filters, 1,
                      ut + p * s.channels * s.filters, s.channels, x + p * tiles * s.channels, s.channels);
    }
    AddToInput(s, x, first, tiles, dinput);
  }
}

// G g G^T.
inline void WinogradWeights(const WinogradShape& s, const float* weights, float* u, float* ut) {
  const auto transform = [](const float g[3], float p[6]) {
    const float sum = g[0] + g[2], sum4 = g[0] + 4 * g[2];
    p[0] = g[0] / 4;
    p[1] = -(sum + g[1]) / 6;
    p[2] = -(sum - g[1]) / 6;
    p[3] = (sum4 + 2 * g[1]) / 24;
    p[4] = (sum4 - 2 * g[1]) / 24;
    p[5] = g[2];
  };
  const size_t point = size_t{s.channels} * s.filters;
  for (size_t c = 0; c < s.channels; ++c) {
    for (size_t f = 0; f < s.filters; ++f) {
      const float* const g = weights + (f * s.channels + c) * 9;
      float columns[6][3];
      for (int j = 0; j < 3; ++j) {
        const float d[3] = {g[j], g[3 + j], g[6 + j]};
        float p[6];
        transform(d, p);
        for (int i = 0; i < 6; ++i) columns[i][j] = p[i];
      }
      for (size_t i = 0; i < 6; ++i) {
        float p[6];
        transform(columns[i], p);
        for (size_t j = 0; j < 6; ++j) {
          u[(i * 6 + j) * point + c * s.filters + f] = p[j];
          ut[(i * 6 + j) * point + f * s.channels + c] = p[j];
        }
      }
    }
  }
}

// G^T du G.
inline void WinogradWeightsGradient(const WinogradShape& s, const float* du, float* gradient) {
  const size_t point = size_t{s.channels} * s.filters;
  const Vec sixth = Set(-1.0f / 6), twelfth = Set(1.0f / 12), quarter = Set(0.25f), half = Set(0.5f);
  const auto transform = [&](const Vec p[6], Vec g[3]) POTLUCK_LAMBDA_INLINE {
    const Vec sum1 = Mul(sixth, Add(p[1], p[2])), difference1 = Mul(sixth, Sub(p[1], p[2]));
    const Vec sum2 = Mul(twelfth, Add(p[3], p[4])), difference2 = Mul(twelfth, Sub(p[3], p[4]));
    g[0] = Add(Fma(quarter, p[0], sum1), Mul(half, sum2));
    g[1] = Add(difference1, difference2);
    g[2] = Add(Fma(Set(2), sum2, sum1), p[5]);
  };
  for (size_t c = 0; c < s.channels; ++c) {
    for (size_t f = 0; f < s.filters; f += kLanes) {
      Vec columns[3][6];
      for (size_t j = 0; j < 6; ++j) {
        Vec p[6], g[3];
        for (size_t i = 0; i < 6; ++i) p[i] = Load(du + (i * 6 + j) * point + c * s.filters + f);
        transform(p, g);
        for (int i = 0; i < 3; ++i) columns[i][j] = g[i];
      }
      alignas(64) float values[9][kLanes];
      for (int i = 0; i < 3; ++i) {
        Vec g[3];
        transform(columns[i], g);
        for (int j = 0; j < 3; ++j) Store(values[i * 3 + j], g[j]);
      }
      for (size_t lane = 0; lane < kLanes; ++lane) {
        float* const to = gradient + ((f + lane) * s.channels + c) * 9;
        for (int k = 0; k < 9; ++k) to[k] = values[k][lane];
      }
    }
  }
}

}  // namespace
}  // namespace potluck::cnn
