// From the words of the domain to those of the contract.

#pragma once

#include <cstdint>
#include <string>

#include "modeld/v1/admin_service.pb.h"
#include "modeld/v1/residency_service.pb.h"
#include "modeld/v1/types.pb.h"
#include "residency/explanation.h"
#include "residency/requests.h"

namespace modeld::rpc {

// Fills a message that is empty.
void Fill(const residency::Progress& from, v1::Progress& to);
void Fill(const residency::Grant& from, v1::Granted& to);
void Fill(const residency::ResidencyInfo& from, v1::Residency& to);
void Fill(const residency::LeaseInfo& from, v1::Lease& to);
void Fill(const residency::Alias& from, v1::Alias& to);
void Fill(const residency::PinInfo& from, v1::Pin& to);
void Fill(const residency::AliasResult& from, v1::SetAliasResult& to);
void Fill(const residency::EvictResult& from, v1::EvictResponse& to);
void Fill(const residency::Explanation& from, v1::ExplainResidencyResponse& to);
void Fill(const residency::DeviceInfo& from, v1::Device& to);
void Fill(const residency::Event& from, v1::Event& to);
void Fill(base::WallTime from, google::protobuf::Timestamp& to);

// A lease id as clients see it: opaque to them.
std::string LeaseIdText(uint64_t lease_id);

}  // namespace modeld::rpc
