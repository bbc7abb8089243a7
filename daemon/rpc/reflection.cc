#include "rpc/reflection.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include <vector>

namespace modeld::rpc {
namespace {

using grpc::reflection::ProtoServerReflectionPlugin;

class Option : public grpc::ServerBuilderOption {
 public:
  explicit Option(bool enabled) : enabled_(enabled) {}

  void UpdateArguments(grpc::ChannelArguments*) override {}

  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      return dynamic_cast<ProtoServerReflectionPlugin*>(plugin.get()) != nullptr;
    });
    if (enabled_) plugins->push_back(std::make_unique<ProtoServerReflectionPlugin>());
  }

 private:
  const bool enabled_;
};

}  // namespace

std::unique_ptr<grpc::ServerBuilderOption> ReflectionOption(bool enabled) {
  return std::make_unique<Option>(enabled);
}

}  // namespace modeld::rpc
