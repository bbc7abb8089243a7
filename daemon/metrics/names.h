// Every metric that modeld has. docs/metrics.md says the same, and a test compares the two.

#pragma once

#include <span>
#include <string_view>

namespace modeld::metrics {

enum class Kind { kCounter, kGauge, kHistogram };

struct Name {
  std::string_view name;
  Kind kind;
  std::string_view labels;  // separated by commas
  std::string_view help;
};

inline constexpr Name kBuildInfo = {"modeld_build_info", Kind::kGauge, "version",
                                    "1, for the release that runs."};
inline constexpr Name kStartTime = {"modeld_start_time_seconds", Kind::kGauge, "",
                                    "When this modeld started, in seconds since the epoch."};

// From a snapshot of the manager.
inline constexpr Name kDeviceUp = {"modeld_device_up", Kind::kGauge, "device",
                                   "1 when the agent of the device answers, else 0."};
inline constexpr Name kCapacity = {"modeld_device_capacity_bytes", Kind::kGauge, "device",
                                   "What residencies may take."};
inline constexpr Name kReserved = {"modeld_device_reserved_bytes", Kind::kGauge, "device",
                                   "Promised to loads that run."};
inline constexpr Name kResident = {"modeld_device_resident_bytes", Kind::kGauge, "device",
                                   "Taken by what is resident."};
inline constexpr Name kShared = {"modeld_device_shared_bytes", Kind::kGauge, "device",
                                 "Resident bytes that more than one lease uses."};
inline constexpr Name kSaved = {
    "modeld_device_saved_bytes", Kind::kGauge, "device",
    "What the leases would take besides, if each had a copy of its own."};
inline constexpr Name kHeld = {"modeld_device_held_bytes", Kind::kGauge, "device",
                               "Resident bytes that a lease holds, a pin keeps, or a copy reads."};
inline constexpr Name kEvictable = {"modeld_device_evictable_bytes", Kind::kGauge, "device",
                                    "Resident bytes that would go if room were needed."};
inline constexpr Name kAgentStarts = {
    "modeld_agent_starts_total", Kind::kCounter, "device",
    "How often an agent of the device came up under this modeld."};
inline constexpr Name kResidencies = {"modeld_residencies", Kind::kGauge, "device,state",
                                      "Residencies by state."};
inline constexpr Name kLeases = {"modeld_leases", Kind::kGauge, "device", "Leases that are held."};
inline constexpr Name kWaiters = {"modeld_waiters", Kind::kGauge, "device",
                                  "Acquires and loads that wait for a residency."};

// From what happens.
inline constexpr Name kAcquires = {
    "modeld_acquires_total", Kind::kCounter, "result",
    "Acquires that were answered: hit, joined, loaded, resumed, refused, failed or cancelled."};
inline constexpr Name kAcquireSeconds = {"modeld_acquire_seconds", Kind::kHistogram, "result",
                                         "From an acquire to its answer."};
inline constexpr Name kLoads = {"modeld_loads_total", Kind::kCounter, "device,result",
                                "Loads that ended: done, failed or cancelled."};
inline constexpr Name kLoadSeconds = {"modeld_load_seconds", Kind::kHistogram, "device",
                                      "How long loads took that were done."};
inline constexpr Name kLoadBytes = {"modeld_load_bytes_total", Kind::kCounter, "device",
                                    "Bytes that were made resident by loads."};
inline constexpr Name kAdopted = {
    "modeld_residencies_adopted_total", Kind::kCounter, "device",
    "Residencies that were taken over from an earlier modeld, without loading."};
inline constexpr Name kLost = {"modeld_residencies_lost_total", Kind::kCounter, "device",
                               "Residencies whose memory went with its agent."};
inline constexpr Name kEvictions = {
    "modeld_evictions_total", Kind::kCounter, "device,cause",
    "Residencies that went: for room, by an operator, private or unwanted."};
inline constexpr Name kEvictionAge = {"modeld_eviction_age_seconds", Kind::kHistogram,
                                      "device,cause",
                                      "How long what went had been resident under this modeld."};
inline constexpr Name kLeaseEnds = {
    "modeld_lease_ends_total", Kind::kCounter, "cause",
    "Leases that ended: released, died (with their process), lost or stopping."};
inline constexpr Name kRpcSeconds = {
    "modeld_rpc_seconds", Kind::kHistogram, "method,code",
    "How long unary calls took to answer. Streams last as long as their clients want."};

inline constexpr const Name* kNames[] = {
    &kBuildInfo, &kStartTime,      &kDeviceUp,  &kCapacity,    &kReserved,    &kResident, &kShared,
    &kSaved,     &kHeld,           &kEvictable, &kAgentStarts, &kResidencies, &kLeases,   &kWaiters,
    &kAcquires,  &kAcquireSeconds, &kLoads,     &kLoadSeconds, &kLoadBytes,   &kAdopted,  &kLost,
    &kEvictions, &kEvictionAge,    &kLeaseEnds, &kRpcSeconds,
};

}  // namespace modeld::metrics
