// Calls that make something READY and tell how that goes: Preload, SetAlias.

#pragma once

#include <memory>
#include <string>

#include "modelctl/call.h"
#include "modelctl/error.h"
#include "modelctl/load_progress.h"

namespace modeld::modelctl {

// Shows the progress under `label` until the result, which is the update that it returns. --timeout
// goes into the request. An interrupt cancels the call: CANCELLED.
template <class Update, class Request>
absl::StatusOr<Update> CallLoad(Environment& environment,
                                std::unique_ptr<grpc::ClientReader<Update>> (
                                    v1::AdminService::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&),
                                Request request, const std::string& label) {
  const auto channel = environment.Connect(SocketOf<v1::AdminService>());
  if (!channel.ok()) return channel.status();
  grpc::ClientContext context;
  if (const auto wait = SetWaitDeadline(environment, context)) {
    *request.mutable_wait_timeout() = *wait;
  }
  const Interrupt::Guard guard(environment.interrupt(), context);
  const auto stub = v1::AdminService::NewStub(*channel);
  LoadProgress progress(label);
  const auto reader = (stub.get()->*method)(&context, request);
  std::optional<Update> result;
  const absl::Status read =
      ReadAll<Update>(environment, context, *reader, [&](const Update& update) {
        if (update.has_progress()) {
          progress.Show(update.progress());
        } else {
          result = update;
        }
        return absl::OkStatus();
      });
  if (!read.ok()) return read;
  if (result) return *std::move(result);
  return ErrorWithHint(absl::StatusCode::kInternal, "modeld ended the call without a result",
                       "compare the versions: modelctl version");
}

}  // namespace modeld::modelctl
