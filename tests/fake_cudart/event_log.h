// The record that tests count in: FAKE_CUDA_LOG.

#pragma once

#include <cstdint>
#include <string>

namespace fake_cudart {

// Appends "<event> pid=<pid>" as one line in one write, so that processes share the file. Does
// nothing without FAKE_CUDA_LOG. Never called under a lock.
void LogEvent(const std::string& event);
void LogEvent(const char* event, const std::string& device_name);
void LogEvent(const char* event, const std::string& device_name, uint64_t bytes);
void LogEvent(const char* event, uint64_t bytes);

}  // namespace fake_cudart
