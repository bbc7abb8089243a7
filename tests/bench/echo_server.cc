#include "echo_server.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace modeld::bench {
namespace {

class Stream final : public grpc::ServerWriteReactor<v1::AcquireUpdate> {
 public:
  Stream() { StartWrite(&update_); }
  void OnWriteDone(bool) override {}
  void OnCancel() override { Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }

 private:
  const v1::AcquireUpdate update_;
};

class EchoService final : public v1::ResidencyService::CallbackService {
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest*,
                                          v1::GetServerInfoResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerWriteReactor<v1::AcquireUpdate>* Acquire(grpc::CallbackServerContext*,
                                                       const v1::AcquireRequest*) override {
    return new Stream;
  }
};

}  // namespace

void ServeEcho(const std::string& socket_path) {
  EchoService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket_path, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  char byte;
  (void)!read(0, &byte, 1);
  std::_Exit(0);
}

EchoClient::EchoClient(const std::string& socket_path) {
  // A channel of its own, as every process has.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  stub_ = v1::ResidencyService::NewStub(grpc::CreateCustomChannel(
      "unix:" + socket_path, grpc::InsecureChannelCredentials(), arguments));
}

void EchoClient::Echo() {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  v1::GetServerInfoResponse response;
  const grpc::Status status = stub_->GetServerInfo(&context, {}, &response);
  if (status.ok()) return;
  std::fprintf(stderr, "echo: %s\n", status.error_message().c_str());
  std::exit(1);
}

void EchoClient::OpenAndCancel() {
  grpc::ClientContext context;
  const auto reader = stub_->Acquire(&context, {});
  v1::AcquireUpdate update;
  if (!reader->Read(&update)) {
    std::fprintf(stderr, "echo: no message on the stream\n");
    std::exit(1);
  }
  context.TryCancel();
  reader->Finish();
}

}  // namespace modeld::bench
