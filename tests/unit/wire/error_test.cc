#include "wire/error.h"

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

namespace modeld::wire {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr Reason kReasons[] = {
    Reason::kFieldInvalid,      Reason::kCheckpointNotFound, Reason::kCheckpointMalformed,
    Reason::kCheckpointChanged, Reason::kFormatUnsupported,  Reason::kPathNotAllowed,
    Reason::kPeerNotAllowed,    Reason::kSessionInvalid,     Reason::kBudgetExceeded,
    Reason::kResidencyLeased,   Reason::kResidencyPinned,    Reason::kResidencyNotFound,
    Reason::kAliasNotFound,     Reason::kDigestMismatch,     Reason::kDeviceUnavailable,
    Reason::kDeviceLost,        Reason::kDraining,           Reason::kDeadlineExceeded,
    Reason::kCancelled,         Reason::kReadFailed,         Reason::kStateNotSaved,
    Reason::kLimitReached,      Reason::kInternal,
};

TEST(Error, GivesBackWhatWasPutIn) {
  const absl::Status status =
      MakeError(Reason::kBudgetExceeded, "12 bytes too many",
                {{"needed_bytes", "12"}, {"holders", "worker 7"}}, "modelctl ps");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "12 bytes too many");
  const ErrorInfo info = GetErrorInfo(status);
  EXPECT_EQ(info.reason, Reason::kBudgetExceeded);
  EXPECT_EQ(info.reason_name, "BUDGET_EXCEEDED");
  EXPECT_EQ(info.hint, "modelctl ps");
  EXPECT_THAT(info.metadata, UnorderedElementsAre(std::pair("needed_bytes", "12"),
                                                  std::pair("holders", "worker 7")));
  EXPECT_EQ(GetReason(status), Reason::kBudgetExceeded);
}

TEST(Error, HasANameAndACodeForEveryReason) {
  std::set<std::string_view> names;
  for (const Reason reason : kReasons) {
    EXPECT_EQ(ReasonFromName(ReasonName(reason)), reason);
    EXPECT_NE(ReasonCode(reason), absl::StatusCode::kUnknown) << ReasonName(reason);
    EXPECT_NE(ReasonCode(reason), absl::StatusCode::kOk) << ReasonName(reason);
    EXPECT_TRUE(names.insert(ReasonName(reason)).second) << ReasonName(reason);
    EXPECT_EQ(GetReason(MakeError(reason, "x")), reason);
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(Reason::kInternal)) << "kReasons leaves one out";
}

TEST(Error, OfAnotherOriginHasNoReason) {
  const ErrorInfo info = GetErrorInfo(absl::NotFoundError("no"));
  EXPECT_EQ(info.reason, Reason::kUnknown);
  EXPECT_EQ(info.reason_name, "");
  EXPECT_TRUE(SerializeDetail(absl::NotFoundError("no")).empty());
  EXPECT_EQ(GetReason(absl::OkStatus()), Reason::kUnknown);
}

TEST(Error, CrossesASeamUnchanged) {
  const absl::Status status =
      MakeError(Reason::kCheckpointMalformed, "bad", {{"file", "/a"}, {"byte", "7"}}, "look");
  const absl::Status copy =
      StatusFromParts(static_cast<int>(status.code()), "bad", SerializeDetail(status));
  EXPECT_EQ(copy, status);
}

TEST(Error, KeepsAReasonThatOnlyTheOtherSideKnows) {
  // ErrorDetail.reason is field 1: what a newer modeld would send.
  const absl::Status status = StatusFromParts(9, "new", "\x0a\x0cSOMETHING_ON");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorInfo(status).reason, Reason::kUnknown);
  EXPECT_EQ(GetErrorInfo(status).reason_name, "SOMETHING_ON");
}

TEST(Error, SurvivesPartsThatMakeNoSense) {
  EXPECT_TRUE(StatusFromParts(0, "ignored", "x").ok());
  EXPECT_EQ(StatusFromParts(-1, "m", "").code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(StatusFromParts(17, "m", "").code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(StatusFromParts(INT32_MAX, "m", "").code(), absl::StatusCode::kUnknown);
  const absl::Status garbage = StatusFromParts(5, "m", "\xff\xff\xff");
  EXPECT_EQ(garbage.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetReason(garbage), Reason::kUnknown);
}

TEST(Error, KeepsItsReasonForAPathThatIsNotUtf8) {
  const absl::Status status =
      MakeError(Reason::kCheckpointNotFound, "no /m\xE9", {{"file", "/m\xE9"}}, "ls /m\xE9");
  const ErrorInfo info = GetErrorInfo(status);
  EXPECT_EQ(info.reason, Reason::kCheckpointNotFound);
  EXPECT_EQ(info.metadata.at("file"), "/m\uFFFD");
  EXPECT_EQ(status.message(), "no /m\uFFFD");
}

TEST(Error, WithTheSameContentsIsEqual) {
  const ErrorMetadata metadata = {{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}, {"e", "5"}};
  EXPECT_EQ(MakeError(Reason::kInternal, "m", metadata),
            MakeError(Reason::kInternal, "m", metadata));
}

TEST(Error, SaysErrnoInWords) {
  EXPECT_EQ(ErrnoText(ENOENT), "No such file or directory");
  EXPECT_THAT(ErrnoText(123456), HasSubstr("123456"));
}

// --- docs/errors.md

struct DocRow {
  std::string code;
  int exit_code = 0;
};

std::string Cell(const std::string& text) {
  const size_t first = text.find_first_not_of(" `");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" `") - first + 1);
}

// The rows of the table whose first column is `| REASON |` in backquotes.
std::map<std::string, DocRow> DocumentedReasons() {
  std::map<std::string, DocRow> rows;
  std::ifstream file(MODELD_ERRORS_MD);
  EXPECT_TRUE(file.is_open()) << MODELD_ERRORS_MD;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    std::istringstream cells(line.substr(1));
    std::string reason, code, exit_code, what;
    std::getline(cells, reason, '|');
    std::getline(cells, code, '|');
    std::getline(cells, exit_code, '|');
    std::getline(cells, what, '|');
    if (Cell(reason).find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != std::string::npos)
      continue;
    EXPECT_FALSE(Cell(what).empty()) << line;
    const bool is_new = rows.emplace(Cell(reason), DocRow{Cell(code), std::stoi(exit_code)}).second;
    EXPECT_TRUE(is_new) << line;
  }
  return rows;
}

TEST(ErrorDocs, ListEveryReasonWithItsCode) {
  const auto documented = DocumentedReasons();
  for (const Reason reason : kReasons) {
    const auto row = documented.find(std::string(ReasonName(reason)));
    ASSERT_NE(row, documented.end()) << ReasonName(reason) << " is not in docs/errors.md";
    EXPECT_EQ(row->second.code, absl::StatusCodeToString(ReasonCode(reason))) << ReasonName(reason);
  }
  EXPECT_EQ(documented.size(), std::size(kReasons)) << "docs/errors.md lists one that is gone";
}

TEST(ErrorDocs, NameExitCodesThatModelctlHas) {
  const std::set<int> exit_codes = {1, 2, 3, 4, 5, 6, 7, 130};
  for (const auto& [reason, row] : DocumentedReasons()) {
    EXPECT_TRUE(exit_codes.contains(row.exit_code)) << reason;
  }
}

}  // namespace
}  // namespace modeld::wire
