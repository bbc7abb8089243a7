#include "modeld/client.h"

#include <utility>

#include "connection.h"
#include "core.h"
#include "endpoint.h"
#include "fork_guard.h"
#include "status.h"

namespace modeld {
namespace {

using client::Core;

class ConnectedClient final : public Client {
 public:
  explicit ConnectedClient(std::shared_ptr<Core> core)
      : core_(std::move(core)), endpoint_(core_->keeper()->endpoint().text()) {}

  ~ConnectedClient() override {
    // It is the parent's: gRPC in it works only there.
    if (core_->forked()) client::LeaveToParent(std::move(core_));
  }

  std::shared_ptr<const Model> Acquire(const ModelSpec& spec,
                                       const AcquireOptions& options) override {
    if (core_->forked()) client::Throw(client::ForkedError());
    auto model = core_->Acquire(spec, options);
    if (!model.ok()) client::Throw(model.status());
    return *std::move(model);
  }

  const std::string& endpoint() const override { return endpoint_; }

 private:
  std::shared_ptr<Core> core_;
  const std::string endpoint_;
};

}  // namespace

std::shared_ptr<Client> Client::Connect(const std::string& endpoint) {
  if (client::ForkedAfterGrpcStarted()) client::Throw(client::ForkedError());
  const auto resolved = client::ResolveEndpoint(endpoint);
  if (!resolved.ok()) client::Throw(resolved.status());
  auto core = Core::Get(*resolved);
  if (!core.ok()) client::Throw(core.status());
  return std::make_shared<ConnectedClient>(*std::move(core));
}

}  // namespace modeld
