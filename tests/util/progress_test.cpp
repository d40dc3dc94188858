// The progress line: what is shown in which width, how often, on a terminal and elsewhere.
#include "dlcm/util/progress.h"

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fcntl.h>
#include <cstdlib>

namespace dlcm {
namespace {

ProgressState sample() {
  return {.label = "train",
          .step = 250,
          .total = 1000,
          .first_step = 0,
          .elapsed_seconds = 100.0,
          .fields = {"loss 3.21", "ratio 4.02", "12.3k tok/s", "MFU 41%"}};
}

TEST(Progress, WideLineShowsEverything) {
  EXPECT_EQ(render_progress(sample(), 121),
            "train [#########-----------------------------] 250/1000 25% loss 3.21 ratio 4.02 12.3k tok/s MFU 41% "
            "1:40 5:00 left");
}

TEST(Progress, PlainLineHasNoBar) {
  EXPECT_EQ(render_progress(sample(), 0), "train 250/1000 25% loss 3.21 ratio 4.02 12.3k tok/s MFU 41% 1:40 5:00 left");
}

TEST(Progress, NarrowWindowDropsTheBarThenTheLeastImportant) {
  EXPECT_EQ(render_progress(sample(), 85),
            "train 250/1000 25% loss 3.21 ratio 4.02 12.3k tok/s MFU 41% 1:40 5:00 left");
  EXPECT_EQ(render_progress(sample(), 74), "train 250/1000 25% loss 3.21 ratio 4.02 12.3k tok/s MFU 41% 5:00 left");
  EXPECT_EQ(render_progress(sample(), 40), "train 250/1000 25% loss 3.21 5:00 left");
  EXPECT_EQ(render_progress(sample(), 35), "train 250/1000 25% 5:00 left");
  EXPECT_EQ(render_progress(sample(), 20), "train 250/1000 25%");
  EXPECT_EQ(render_progress(sample(), 12), "train");
  EXPECT_EQ(render_progress(sample(), 4), "tra");
}

TEST(Progress, NoLineIsAsWideAsItsWindow) {
  auto state = sample();
  state.label = "Überlänge";
  for (int64_t columns = 1; columns < 200; ++columns) {
    const std::string line = render_progress(state, columns);
    const auto width = std::count_if(line.begin(), line.end(), [](char byte) { return (byte & 0xc0) != 0x80; });
    EXPECT_LT(width, columns) << line;
  }
}

TEST(Progress, TimeLeftComesFromTheStepsOfThisProcess) {
  auto state = sample();
  state.first_step = 240;
  EXPECT_NE(render_progress(state, 0).find(" 2:05:00 left"), std::string::npos) << render_progress(state, 0);
  state.first_step = state.step;
  EXPECT_EQ(render_progress(state, 0).find("left"), std::string::npos);
  state.first_step = 0;
  state.step = state.total;
  EXPECT_EQ(render_progress(state, 0).find("left"), std::string::npos);
  EXPECT_NE(render_progress(state, 0).find("1000/1000 100%"), std::string::npos);
}

TEST(Progress, UnknownEndShowsOnlyTheCount) {
  auto state = sample();
  state.total = 0;
  state.elapsed_seconds = 200000.0;
  EXPECT_EQ(render_progress(state, 100), "train 250 loss 3.21 ratio 4.02 12.3k tok/s MFU 41% 2d 07h");
}

TEST(Progress, LineEndsAndEscapesInTextsAreShownAsQuestionMarks) {
  auto state = sample();
  state.label = "a\nb\x1b[2J";
  EXPECT_EQ(render_progress(state, 0).substr(0, 8), "a?b?[2J ");
}

TEST(Progress, WithoutATerminalAPlainLineComesNowAndThen) {
  std::FILE* stream = std::tmpfile();
  ASSERT_NE(stream, nullptr);
  double now = 0.0;
  {
    ProgressLine line(
        {.label = "data", .total = 1000, .first_step = 0, .stream = stream, .clock = [&] { return now; }});
    for (int64_t step = 1; step <= 600; ++step) {
      now = static_cast<double>(step) / 10.0;
      line.update(step, {"x"});
    }
    line.message("saved");
    line.finish();
    line.update(601);
    line.finish();
  }
  std::rewind(stream);
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), stream));
  std::fclose(stream);
  EXPECT_EQ(text,
            "data 100/1000 10% x 10s 1:30 left\n"
            "data 250/1000 25% x 25s 1:15 left\n"
            "data 475/1000 47% x 48s 53s left\n"
            "saved\n"
            "data 600/1000 60% x 1:00 40s left\n");
}

TEST(Progress, OnATerminalOneLineIsRedrawnTenTimesASecondInItsWidth) {
  const int controller = ::posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(controller, 0);
  ASSERT_EQ(::grantpt(controller), 0);
  ASSERT_EQ(::unlockpt(controller), 0);
  const int terminal = ::open(::ptsname(controller), O_RDWR | O_NOCTTY);
  ASSERT_GE(terminal, 0);
  struct winsize size{};
  size.ws_col = 40;
  ASSERT_EQ(::ioctl(terminal, TIOCSWINSZ, &size), 0);
  std::FILE* stream = ::fdopen(terminal, "w");
  double now = 0.0;
  {
    ProgressLine line(
        {.label = "train", .total = 1000, .first_step = 0, .stream = stream, .clock = [&] { return now; }});
    for (int64_t step = 1; step <= 250; ++step) {
      now = static_cast<double>(step) / 1000.0;
      line.update(step, sample().fields);
    }
    line.message("saved");
  }
  std::fclose(stream);
  std::string text;
  char part[4096];
  // A terminal hands over what it holds in parts; after the last one a read fails, since nobody writes any more.
  for (ssize_t count; (count = ::read(controller, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(count));
  ::close(controller);
  const std::string last = "\rtrain 250/1000 25% loss 3.21 1s left\x1b[K";
  EXPECT_EQ(text,
            "\rtrain 1/1000 0% loss 3.21 1s left\x1b[K"
            "\rtrain 101/1000 10% loss 3.21 1s left\x1b[K"
            "\rtrain 201/1000 20% loss 3.21 1s left\x1b[K"
            "\r\x1b[Ksaved\r\n" +
                last + last + "\r\n");
}

}  // namespace
}  // namespace dlcm
