#include "rpc/call_timer.h"

#include <iterator>
#include <utility>

namespace modeld::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;

// As https://grpc.io/docs/guides/status-codes writes them.
std::string_view CodeName(grpc::StatusCode code) {
  constexpr std::string_view kNames[] = {"OK",
                                         "CANCELLED",
                                         "UNKNOWN",
                                         "INVALID_ARGUMENT",
                                         "DEADLINE_EXCEEDED",
                                         "NOT_FOUND",
                                         "ALREADY_EXISTS",
                                         "PERMISSION_DENIED",
                                         "RESOURCE_EXHAUSTED",
                                         "FAILED_PRECONDITION",
                                         "ABORTED",
                                         "OUT_OF_RANGE",
                                         "UNIMPLEMENTED",
                                         "INTERNAL",
                                         "UNAVAILABLE",
                                         "DATA_LOSS",
                                         "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

class CallTimer : public grpc::experimental::Interceptor {
 public:
  CallTimer(const CallObserver& observer, const base::Clock& clock, const char* method)
      : observer_(observer), clock_(clock), method_(method), began_(clock.Now()) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      observer_(method_, CodeName(methods->GetSendStatus().error_code()), clock_.Now() - began_);
    }
    methods->Proceed();
  }

 private:
  const CallObserver& observer_;
  const base::Clock& clock_;
  const std::string_view method_;
  const base::TimePoint began_;
};

class Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  Factory(CallObserver observer, const base::Clock& clock)
      : observer_(std::move(observer)), clock_(clock) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    if (info->type() != ServerRpcInfo::Type::UNARY) return nullptr;
    return new CallTimer(observer_, clock_, info->method());  // gRPC deletes it
  }

 private:
  const CallObserver observer_;
  const base::Clock& clock_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallTimer(
    CallObserver observer, const base::Clock& clock) {
  return std::make_unique<Factory>(std::move(observer), clock);
}

}  // namespace modeld::rpc
