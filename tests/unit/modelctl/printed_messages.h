// What printers are given in tests: messages of all kinds, as of one moment.

#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <memory>
#include <string>

#include "modelctl/printer.h"
#include "modeld/v1/residency_service.pb.h"

namespace modeld::modelctl {

inline constexpr char kDigest[] =
    "sha256:4f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9b";
inline constexpr int64_t kNow = 1700000000;  // 2023-11-14T22:13:20Z

google::protobuf::Timestamp Ago(int64_t seconds);
v1::ListResidenciesResponse MakeResidencies();
v1::ListLeasesResponse MakeLeases();
v1::ListDevicesResponse MakeDevices();
v1::InspectCheckpointResponse MakeCheckpoint();
v1::WatchEventsResponse MakeEvent();

// A golden text begins on a line of its own.
std::string Text(const char* golden);
// As of kNow; on a terminal if there is a width.
std::unique_ptr<Printer> Make(Format format, size_t width = 0, bool colour = false);

}  // namespace modeld::modelctl
