#include "modelctl/error.h"

#include <gtest/gtest.h>

#include "wire/error.h"

namespace modeld::modelctl {
namespace {

struct Row {
  absl::StatusCode code;
  const char* reason;
  int exit_code;
};

class ExitCodes : public testing::TestWithParam<Row> {};

TEST_P(ExitCodes, FollowFromReasonAndCode) {
  const Row& row = GetParam();
  EXPECT_EQ(ToExitCode(row.code, row.reason), row.exit_code);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ExitCodes,
    testing::Values(
        Row{absl::StatusCode::kOk, "", 0},
        // The reason decides.
        Row{absl::StatusCode::kInvalidArgument, "FIELD_INVALID", 2},
        Row{absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND", 4},
        Row{absl::StatusCode::kInvalidArgument, "CHECKPOINT_MALFORMED", 1},
        Row{absl::StatusCode::kAborted, "CHECKPOINT_CHANGED", 1},
        Row{absl::StatusCode::kUnimplemented, "FORMAT_UNSUPPORTED", 1},
        Row{absl::StatusCode::kPermissionDenied, "PATH_NOT_ALLOWED", 5},
        Row{absl::StatusCode::kPermissionDenied, "PEER_NOT_ALLOWED", 5},
        Row{absl::StatusCode::kUnauthenticated, "SESSION_INVALID", 1},
        Row{absl::StatusCode::kResourceExhausted, "BUDGET_EXCEEDED", 6},
        Row{absl::StatusCode::kFailedPrecondition, "RESIDENCY_LEASED", 5},
        Row{absl::StatusCode::kFailedPrecondition, "RESIDENCY_PINNED", 5},
        Row{absl::StatusCode::kNotFound, "RESIDENCY_NOT_FOUND", 4},
        Row{absl::StatusCode::kDataLoss, "DIGEST_MISMATCH", 1},
        Row{absl::StatusCode::kUnavailable, "DEVICE_UNAVAILABLE", 1},
        Row{absl::StatusCode::kUnavailable, "DEVICE_LOST", 1},
        Row{absl::StatusCode::kUnavailable, "DRAINING", 1},
        Row{absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED", 7},
        Row{absl::StatusCode::kCancelled, "CANCELLED", 130},
        Row{absl::StatusCode::kFailedPrecondition, "READ_FAILED", 1},
        Row{absl::StatusCode::kFailedPrecondition, "STATE_NOT_SAVED", 1},
        Row{absl::StatusCode::kResourceExhausted, "LIMIT_REACHED", 6},
        Row{absl::StatusCode::kInternal, "INTERNAL", 1},
        // Without one, or with one of a newer modeld, the code does.
        Row{absl::StatusCode::kUnavailable, "", 3}, Row{absl::StatusCode::kInvalidArgument, "", 2},
        Row{absl::StatusCode::kNotFound, "SOMETHING_NEW", 4},
        Row{absl::StatusCode::kPermissionDenied, "", 5},
        Row{absl::StatusCode::kUnauthenticated, "", 5},
        Row{absl::StatusCode::kFailedPrecondition, "", 5},
        Row{absl::StatusCode::kResourceExhausted, "", 6},
        Row{absl::StatusCode::kDeadlineExceeded, "", 7}, Row{absl::StatusCode::kCancelled, "", 1},
        Row{absl::StatusCode::kUnimplemented, "", 1}, Row{absl::StatusCode::kInternal, "", 1},
        Row{absl::StatusCode::kUnknown, "", 1}));

TEST(ExitCode, KnowsEveryReasonThatTheWireKnows) {
  // A reason that has no row falls back to its code; CHECKPOINT_MALFORMED would then be a usage
  // error.
  EXPECT_EQ(ToExitCode(wire::MakeError(wire::Reason::kCheckpointMalformed, "x")), kFailed);
  EXPECT_EQ(ToExitCode(wire::MakeError(wire::Reason::kReadFailed, "x")), kFailed);
}

TEST(ErrorText, HasTheMessageAndTheNextStep) {
  EXPECT_EQ(ErrorText(ErrorWithHint(absl::StatusCode::kUnknown, "it broke", "mend it")),
            "modelctl: it broke\n  next: mend it\n");
}

TEST(ErrorText, FindsANextStepForAnErrorThatBringsNone) {
  EXPECT_EQ(ErrorText(absl::NotFoundError("no such thing")),
            "modelctl: no such thing\n  next: see what is resident: modelctl ps\n");
  EXPECT_EQ(ErrorText(absl::InternalError("")).substr(0, 19), "modelctl: INTERNAL\n");
}

TEST(ErrorText, CannotBeSteeredByAPeer) {
  EXPECT_EQ(ErrorText(ErrorWithHint(absl::StatusCode::kUnknown, "a\033[31m\nmodelctl: all is well",
                                    "b\rc")),
            "modelctl: a\\x1b[31m\\x0amodelctl: all is well\n  next: b\\x0dc\n");
}

TEST(FromGrpc, KeepsReasonMetadataAndHint) {
  const absl::Status status =
      wire::MakeError(wire::Reason::kBudgetExceeded, "too big", {{"needed_bytes", "7"}}, "evict");
  const absl::Status back = FromGrpc(
      grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too big", wire::SerializeDetail(status)));
  EXPECT_EQ(back, status);
}

TEST(WithHint, KeepsTheReasonAndAnEarlierHint) {
  const absl::Status bare = wire::MakeError(wire::Reason::kPeerNotAllowed, "no");
  EXPECT_EQ(wire::GetErrorInfo(WithHint(bare, "ask")).hint, "ask");
  EXPECT_EQ(wire::GetReason(WithHint(bare, "ask")), wire::Reason::kPeerNotAllowed);
  EXPECT_EQ(wire::GetErrorInfo(WithHint(WithHint(bare, "first"), "second")).hint, "first");
}

}  // namespace
}  // namespace modeld::modelctl
