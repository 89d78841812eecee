#include "cli/timeline_svg.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "cli/output.h"

namespace potluck {
namespace {

// Pixels.
constexpr double kWidth = 980, kLeft = 176, kRight = 132, kTop = 84, kBottom = 46;
constexpr double kLane = 40, kBar = 20, kLetter = 6.6;
constexpr size_t kNameLetters = 23;
constexpr size_t kMostLanes = 100;
constexpr int kMostTicks = 9;

constexpr const char* kGrey = "#767676";

// Okabe and Ito's colours, which differ for every kind of colour vision; by lightness as well.
struct Style {
  const char* fill;
  double height;  // Of the bar.
  const char* name;
};
constexpr std::array<Style, 5> kStyles = {{{"#0072B2", kBar, "with a GPU"},
                                           {"#E69F00", kBar * 0.7, "CPU by choice"},
                                           {"url(#refused)", kBar, "GPU refused"},
                                           {"#767676", 3, "session goes on, worker not seen"},
                                           {"url(#away)", kLane, ""}}};

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(Printable(text), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// Whole characters of UTF-8 only.
std::string Shortened(const std::string& text, size_t letters) {
  const std::string printable = Printable(text);
  size_t count = 0;
  for (size_t i = 0; i < printable.size(); ++i) {
    if ((printable[i] & 0xc0) != 0x80 && ++count == letters + 1) return absl::StrCat(printable.substr(0, i), "…");
  }
  return printable;
}

std::string TextAt(double x, double y, const char* anchor, const std::string& text, int size = 12,
                   const std::string& more = "", const char* colour = kGrey) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\" font-size=\"%d\"%s>%s</text>\n", x,
                         y, anchor, colour, size, more, Escaped(text));
}

absl::Duration TickStep(absl::Duration window) {
  static const absl::Duration kSteps[] = {absl::Seconds(1), absl::Seconds(5),  absl::Seconds(15), absl::Minutes(1),
                                          absl::Minutes(5), absl::Minutes(15), absl::Minutes(30), absl::Hours(1),
                                          absl::Hours(2),   absl::Hours(3),    absl::Hours(6),    absl::Hours(12)};
  for (const absl::Duration step : kSteps) {
    if (window / step <= kMostTicks) return step;
  }
  absl::Duration step = absl::Hours(24);
  while (window / step > kMostTicks) step = step * 2;
  return step;
}

class Drawing {
 public:
  explicit Drawing(const Timeline& timeline) : timeline_(timeline) {
    lanes_ = std::min(timeline.lanes.size(), kMostLanes);
    bottom_ = kTop + kLane * static_cast<double>(std::max<size_t>(1, lanes_));
  }

  std::string Render() const {
    const double height = bottom_ + kBottom;
    std::string svg = absl::StrFormat(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" "
        "font-family=\"sans-serif\" role=\"img\">\n<title>%s</title>\n<desc>%s</desc>\n",
        kWidth, height, kWidth, height, Escaped(timeline_.title), Escaped(timeline_.description));
    absl::StrAppend(&svg, Patterns(), TextAt(16, 28, "start", timeline_.title, 15, " font-weight=\"bold\""), Legend());
    for (const TimelineBar& bar : timeline_.backdrop) absl::StrAppend(&svg, Bar(bar, kTop, bottom_ - kTop));
    absl::StrAppend(&svg, Axis());
    if (lanes_ == 0) absl::StrAppend(&svg, TextAt(kLeft + 8, kTop + 24, "start", "nobody was at the table"));
    for (size_t i = 0; i < lanes_; ++i) absl::StrAppend(&svg, Lane(timeline_.lanes[i], i));
    if (lanes_ < timeline_.lanes.size()) {
      absl::StrAppend(&svg, TextAt(16, bottom_ + 34, "start",
                                   absl::StrCat("and ", timeline_.lanes.size() - lanes_, " more that are not shown")));
    }
    return absl::StrCat(svg, "</svg>\n");
  }

 private:
  static std::string Patterns() {
    return "<defs><pattern id=\"refused\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" "
           "patternTransform=\"rotate(45)\"><rect width=\"7\" height=\"7\" fill=\"#F6D5BD\"/>"
           "<rect width=\"3\" height=\"7\" fill=\"#D55E00\"/></pattern>\n"
           "<pattern id=\"away\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
           "patternTransform=\"rotate(-45)\"><rect width=\"6\" height=\"6\" fill=\"#767676\" fill-opacity=\"0.08\"/>"
           "<rect width=\"1.2\" height=\"6\" fill=\"#767676\" fill-opacity=\"0.55\"/></pattern></defs>\n";
  }

  double X(absl::Time time) const {
    const absl::Duration window = timeline_.to - timeline_.from;
    const double share = window > absl::ZeroDuration() ? absl::FDivDuration(time - timeline_.from, window) : 1;
    return kLeft + std::clamp(share, 0.0, 1.0) * (kWidth - kRight - kLeft);
  }

  std::string Legend() const {
    std::string svg;
    double x = kLeft;
    const auto entry = [&](const Style& style, const std::string& name) {
      const double height = std::min(style.height, 14.0);
      absl::StrAppend(&svg,
                      absl::StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"20\" height=\"%.1f\" fill=\"%s\"/>\n", x,
                                      53 - height / 2, height, style.fill),
                      TextAt(x + 26, 57, "start", name, 12));
      x += 26 + kLetter * static_cast<double>(name.size()) + 22;
    };
    for (const Style& style : kStyles) {
      if (*style.name != '\0') entry(style, style.name);
    }
    if (!timeline_.backdrop.empty()) entry(kStyles[TimelineBar::kUnknown], timeline_.backdrop_name);
    return svg;
  }

  // A bar in a lane is never too thin to be seen.
  std::string Bar(const TimelineBar& bar, double top, double height) const {
    if (bar.to < timeline_.from || bar.from > timeline_.to) return "";
    const double left = X(bar.from);
    const double width = std::max(X(bar.to) - left, bar.kind == TimelineBar::kUnknown ? 0 : 1.5);
    std::string svg = absl::StrFormat(
        "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\"><title>%s</title></rect>\n", left, top,
        width, height, kStyles[bar.kind].fill, Escaped(bar.tooltip));
    const double plate = kLetter * static_cast<double>(bar.label.size()) + 6;
    if (bar.label.empty() || width < plate + 6) return svg;
    if (bar.kind == TimelineBar::kGpu || bar.kind == TimelineBar::kCpu) {
      absl::StrAppend(&svg, TextAt(left + width / 2, top + height / 2 + 4, "middle", bar.label, 12, "",
                                   bar.kind == TimelineBar::kGpu ? "#ffffff" : "#1a1a1a"));
    } else {  // On a pattern nothing can be read: on a plate of its own.
      absl::StrAppend(&svg,
                      absl::StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"14\" rx=\"3\" "
                                      "fill=\"#ffffff\"/>\n",
                                      left + width / 2 - plate / 2, top + height / 2 - 7, plate),
                      TextAt(left + width / 2, top + height / 2 + 4, "middle", bar.label, 12, "", "#333333"));
    }
    return svg;
  }

  std::string Lane(const TimelineLane& lane, size_t number) const {
    const double top = kTop + kLane * static_cast<double>(number), middle = top + kLane / 2;
    std::string svg;
    if (lane.is_reference) {
      absl::StrAppend(&svg, absl::StrFormat("<path d=\"M16 %.1fH%.1f\" stroke=\"%s\" stroke-dasharray=\"3 3\"/>\n",
                                            top + kLane, kWidth - 16, kGrey));
    }
    const double name_y = lane.detail.empty() ? middle + 4 : middle - 1;
    absl::StrAppend(&svg, TextAt(16, name_y, "start", Shortened(lane.name, kNameLetters), 13),
                    TextAt(16, middle + 13, "start", Shortened(lane.detail, kNameLetters + 3), 11));
    absl::StrAppend(&svg, absl::StrFormat("<path d=\"M%.1f %.1fH%.1f\" stroke=\"%s\" stroke-opacity=\"0.35\"/>\n",
                                          kLeft, middle, kWidth - kRight, kGrey));
    for (const TimelineBar& bar : lane.bars) {
      const double height = kStyles[bar.kind].height;
      absl::StrAppend(&svg, Bar(bar, middle - height / 2, height));
    }
    return absl::StrCat(svg, TextAt(kWidth - kRight + 10, middle + 4, "start", lane.note, 12));
  }

  std::string Axis() const {
    std::string svg;
    const absl::TimeZone utc = absl::UTCTimeZone();
    const absl::Duration step = TickStep(timeline_.to - timeline_.from);
    const bool is_days = step >= absl::Hours(24);
    const bool has_seconds = step < absl::Minutes(1);
    absl::Time tick = absl::UnixEpoch() + absl::Ceil(timeline_.from - absl::UnixEpoch(), step);
    std::string last_day;
    for (; tick <= timeline_.to; tick += step) {
      const std::string date = absl::FormatTime("%d %b", tick, utc);
      absl::StrAppend(&svg, absl::StrFormat("<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\" stroke-opacity=\"0.25\"/>\n",
                                            X(tick), kTop, bottom_ + 4, kGrey));
      const std::string text = is_days ? date : absl::FormatTime(has_seconds ? "%H:%M:%S" : "%H:%M", tick, utc);
      absl::StrAppend(&svg, TextAt(X(tick), bottom_ + 18, "middle", text));
      if (!is_days && date != last_day) absl::StrAppend(&svg, TextAt(X(tick), bottom_ + 34, "middle", date, 11));
      last_day = date;
    }
    return absl::StrCat(
        svg, TextAt(kWidth - kRight + 10, bottom_ + 18, "start", "UTC"),
        absl::StrFormat("<path d=\"M%.1f %.1fH%.1f\" stroke=\"%s\"/>\n", kLeft, bottom_, kWidth - kRight, kGrey));
  }

  const Timeline& timeline_;
  size_t lanes_ = 0;
  double bottom_ = 0;
};

}  // namespace

std::string RenderTimeline(const Timeline& timeline) { return Drawing(timeline).Render(); }

std::string ShortTime(absl::Duration duration) {
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(duration));
  const auto with = [](double value, const char* unit) {
    std::string text = value < 9.95 ? absl::StrFormat("%.1f", value) : absl::StrFormat("%.0f", value);
    return absl::StrCat(absl::StripSuffix(text, ".0"), " ", unit);
  };
  if (seconds < 59.5) return with(seconds, "s");
  if (seconds < 3570) return absl::StrFormat("%.0f min", seconds / 60);
  // Sessions are compared by their hours, of which 12 are usual.
  if (seconds < 72 * 3600) {
    return absl::StrCat(absl::StripSuffix(absl::StrFormat("%.1f", seconds / 3600), ".0"), " h");
  }
  return with(seconds / 86400, "d");
}

}  // namespace potluck
