#include "cli/plot_svg.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "cli/output.h"

namespace potluck {
namespace {

constexpr double kWidth = 760, kHeight = 400;  // Of one chart, all in pixels.
constexpr double kLeft = 78, kRight = 226, kTop = 56, kBottom = 52;
constexpr double kTitleHeight = 44;
constexpr double kLabelHeight = 15;

// Contrast of at least 3 with white and with near-black.
constexpr const char* kGrey = "#767676";
constexpr std::array<const char*, 6> kColours = {"#2f7ed8", "#d0690c", "#2a9148", "#9b59d0", "#d64550", "#0f8f9c"};

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(Printable(text), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// "10 M" rather than Metric's "10.0 M".
std::string TickText(double value) {
  std::string text = Metric(value);
  const size_t point = text.find('.');
  if (point == std::string::npos) return text;
  const size_t unit = std::min(text.find(' '), text.size());
  const size_t last = text.find_last_not_of('0', unit - 1);
  return text.substr(0, last == point ? point : last + 1) + text.substr(unit);
}

std::string TextAt(double x, double y, const char* anchor, const std::string& colour, const std::string& text,
                   int size = 12, const std::string& more = "") {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\" font-size=\"%d\"%s>%s</text>\n", x,
                         y, anchor, colour, size, more, Escaped(text));
}

// The mark of the line with this number.
std::string Mark(size_t line, double x, double y) {
  const char* colour = kColours[line % kColours.size()];
  switch (line % 3) {
    case 0:
      return absl::StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x, y, colour);
    case 1:
      return absl::StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\" fill=\"%s\"/>\n", x - 4, y - 4,
                             colour);
    default:
      return absl::StrFormat("<path d=\"M%.1f %.1fl5 9h-10z\" fill=\"%s\"/>\n", x, y - 6, colour);
  }
}

// A name at the right edge.
struct Label {
  double y = 0;
  std::string colour, text;
};

// Moves labels apart, downwards, then back up if the last ones fell off the chart.
void Spread(std::vector<Label>& labels, double bottom) {
  std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
  for (size_t i = 1; i < labels.size(); ++i) labels[i].y = std::max(labels[i].y, labels[i - 1].y + kLabelHeight);
  for (size_t i = labels.size(); i-- > 0; bottom = labels[i].y - kLabelHeight) {
    labels[i].y = std::min(labels[i].y, bottom);
  }
}

// The scale: y from one of 1, 2, 5 times a power of ten to another one.
class Chart {
 public:
  Chart(const Plot& plot, double top) : plot_(plot), top_(top) {
    double low = 1e300, high = 0;
    low_x_ = 1e300, high_x_ = -1e300;
    for (const PlotLine& line : plot.lines) {
      for (const auto& [x, y] : line.points) {
        low_x_ = std::min(low_x_, x), high_x_ = std::max(high_x_, x);
        low = std::min(low, y), high = std::max(high, y);
      }
    }
    is_empty_ = high == 0;
    for (const PlotReference& reference : plot.references) {
      low = std::min(low, reference.y), high = std::max(high, reference.y);
    }
    MakeTicks(low, high);
  }

  std::string Render() {
    std::string svg = absl::StrCat("<g role=\"img\"><title>", Escaped(plot_.title), "</title><desc>",
                                   Escaped(plot_.description), "</desc>\n");
    absl::StrAppend(&svg, TextAt(kLeft, top_ + 24, "start", kGrey, plot_.title, 14, " font-weight=\"bold\""));
    if (is_empty_)
      return absl::StrCat(svg, TextAt(kLeft, top_ + kTop + 20, "start", kGrey, "nothing measured"), "</g>\n");
    absl::StrAppend(&svg, Axes(), References());
    for (size_t i = 0; i < plot_.lines.size(); ++i) absl::StrAppend(&svg, Line(i));
    Spread(labels_, Bottom());
    for (const Label& label : labels_) {
      absl::StrAppend(&svg, TextAt(kWidth - kRight + 10, label.y + 4, "start", label.colour, label.text));
    }
    return absl::StrCat(svg, "</g>\n");
  }

 private:
  double Bottom() const { return top_ + kHeight - kBottom; }
  double X(double x) const {
    const double share = high_x_ > low_x_ ? (x - low_x_) / (high_x_ - low_x_) : 0.5;
    return kLeft + 14 + share * (kWidth - kRight - kLeft - 28);
  }
  double Y(double y) const {
    const double share = std::log(y / ticks_.front()) / std::log(ticks_.back() / ticks_.front());
    return Bottom() - share * (Bottom() - top_ - kTop);
  }

  void MakeTicks(double low, double high) {
    if (is_empty_) return;
    // With many powers of ten these alone.
    const bool is_wide = high / low > 1e3;
    const double first = std::pow(10, std::floor(std::log10(low)));
    for (double power = first; ticks_.empty() || ticks_.back() < high; power *= 10) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        if (is_wide && factor != 1) continue;
        if (!ticks_.empty() && ticks_.back() >= high) break;
        ticks_.push_back(power * factor);
      }
    }
    while (ticks_.size() > 2 && ticks_[1] <= low) ticks_.erase(ticks_.begin());
    if (ticks_.size() == 1) ticks_.push_back(ticks_[0] * 10);
  }

  std::string Axes() const {
    std::string svg;
    for (const double tick : ticks_) {
      absl::StrAppend(&svg,
                      absl::StrFormat("<path d=\"M%.1f %.1fH%.1f\" stroke=\"%s\" stroke-opacity=\"0.35\"/>\n", kLeft,
                                      Y(tick), kWidth - kRight, kGrey),
                      TextAt(kLeft - 8, Y(tick) + 4, "end", kGrey, TickText(tick)));
    }
    std::vector<double> xs;
    for (const PlotLine& line : plot_.lines) {
      for (const auto& point : line.points) xs.push_back(point.first);
    }
    std::sort(xs.begin(), xs.end());
    xs.erase(std::unique(xs.begin(), xs.end()), xs.end());
    for (const double x : xs) {
      absl::StrAppend(&svg, TextAt(X(x), Bottom() + 18, "middle", kGrey, absl::StrFormat("%g", x)));
    }
    const double middle = (top_ + kTop + Bottom()) / 2;
    return absl::StrCat(svg, TextAt((kLeft + kWidth - kRight) / 2, Bottom() + 40, "middle", kGrey, plot_.x_name),
                        TextAt(16, middle, "middle", kGrey, plot_.y_name, 12,
                               absl::StrFormat(" transform=\"rotate(-90 16 %.1f)\"", middle)));
  }

  std::string References() {
    std::string svg;
    for (const PlotReference& reference : plot_.references) {
      const double y = Y(reference.y);
      absl::StrAppend(&svg, absl::StrFormat("<path d=\"M%.1f %.1fH%.1f\" stroke=\"%s\" stroke-dasharray=\"5 4\"/>\n",
                                            kLeft, y, kWidth - kRight, kGrey));
      labels_.push_back({y, kGrey, reference.name});
    }
    return svg;
  }

  std::string Line(size_t number) {
    const PlotLine& line = plot_.lines[number];
    if (line.points.empty()) return "";
    const char* colour = kColours[number % kColours.size()];
    std::string path, marks;
    for (const auto& [x, y] : line.points) {
      absl::StrAppend(&path, absl::StrFormat("%s%.1f %.1f", path.empty() ? "M" : "L", X(x), Y(y)));
      absl::StrAppend(&marks, Mark(number, X(x), Y(y)));
    }
    labels_.push_back({Y(line.points.back().second), colour, line.name});
    return absl::StrFormat("<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n%s", path, colour, marks);
  }

  const Plot& plot_;
  const double top_;
  bool is_empty_ = false;
  double low_x_ = 0, high_x_ = 0;
  std::vector<double> ticks_;  // Ascending; the scale goes from the first to the last.
  std::vector<Label> labels_;
};

}  // namespace

std::string RenderSvg(const std::string& title, const std::vector<Plot>& plots) {
  const double height = kTitleHeight + kHeight * static_cast<double>(plots.size());
  std::string svg = absl::StrFormat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" "
      "font-family=\"sans-serif\">\n<title>%s</title>\n",
      kWidth, height, kWidth, height, Escaped(title));
  absl::StrAppend(&svg, TextAt(kLeft, 30, "start", kGrey, title, 15, " font-weight=\"bold\""));
  double top = kTitleHeight;
  for (const Plot& plot : plots) {
    absl::StrAppend(&svg, Chart(plot, top).Render());
    top += kHeight;
  }
  return absl::StrCat(svg, "</svg>\n");
}

}  // namespace potluck
