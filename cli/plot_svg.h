// Line charts on a logarithmic scale as one SVG text: no program, font or picture from elsewhere.
//
// The background is the page's: every colour is of middle lightness, so that it stands out from white and from black.
// Lines differ in colour and in the shape of their marks, and each is named at its right end. Pure functions,
// thread-safe.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace potluck {

struct PlotLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // By ascending x; y more than 0.
};

// Somebody else's figure: a dashed line across the chart.
struct PlotReference {
  std::string name;
  double y = 1;  // More than 0.
};

struct Plot {
  std::string title;
  std::string description;  // In a sentence or two, for those who cannot see it.
  std::string x_name, y_name;
  std::vector<PlotLine> lines;  // At most six.
  std::vector<PlotReference> references;
};

// One below the other, under a title for all. A line without points is left out.
std::string RenderSvg(const std::string& title, const std::vector<Plot>& plots);

}  // namespace potluck
