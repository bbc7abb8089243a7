#include "fake_cudart/contexts.h"

#include <utility>

#include "fake_cudart/accounting.h"
#include "fake_cudart/devices.h"
#include "fake_cudart/errors.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/faults.h"

namespace fake_cudart {

Contexts& Contexts::Get() {
  static Contexts& contexts = *new Contexts;
  return contexts;
}

cudaError_t Contexts::Ensure(int device) {
  const auto index = static_cast<size_t>(device);
  if (Active(device)) return cudaSuccess;
  if (const auto error = CurrentFaults()->TakeFailure("context")) {
    return static_cast<cudaError_t>(*error);
  }
  modeld::wire::UniqueFd memory;
  if (GetConfig().context_bytes > 0) {
    const cudaError_t error =
        CreateDeviceMemfd(GetDevice(device), kContextKind, GetConfig().context_bytes, memory);
    if (error != cudaSuccess) return error;
  }
  {
    MutexLock lock(mutex_);
    Context& context = contexts_[index];
    if (context.active) return cudaSuccess;  // another thread was faster
    context.active = true;
    context.memory = std::move(memory);
  }
  LogEvent("context_created", GetDevice(device).name());
  return cudaSuccess;
}

bool Contexts::Active(int device) {
  MutexLock lock(mutex_);
  return contexts_[static_cast<size_t>(device)].active;
}

cudaError_t Contexts::ErrorOf(int device) {
  const auto faults = CurrentFaults();
  const auto sticky = faults->Sticky(GetDevice(device).name());
  MutexLock lock(mutex_);
  Context& context = contexts_[static_cast<size_t>(device)];
  if (!context.active) return cudaSuccess;
  // Once per reading of the file: a reset is a way out.
  if (sticky && context.faults_applied != faults->version()) {
    context.faults_applied = faults->version();
    context.error = static_cast<cudaError_t>(*sticky);
  }
  return context.error;
}

void Contexts::Poison(int device, cudaError_t error) {
  {
    MutexLock lock(mutex_);
    Context& context = contexts_[static_cast<size_t>(device)];
    if (!context.active || context.error != cudaSuccess) return;
    context.error = error;
  }
  LogEvent("context_broken " + GetDevice(device).name() + " " + ErrorName(error));
}

void Contexts::Destroy(int device) {
  {
    MutexLock lock(mutex_);
    Context& context = contexts_[static_cast<size_t>(device)];
    if (!context.active) return;
    context.active = false;
    context.error = cudaSuccess;
    context.peers = 0;
    context.memory = modeld::wire::UniqueFd();
  }
  LogEvent("context_destroyed", GetDevice(device).name());
}

void Contexts::SetFlags(int device, unsigned int flags) {
  MutexLock lock(mutex_);
  contexts_[static_cast<size_t>(device)].flags = flags;
}

unsigned int Contexts::flags(int device) {
  MutexLock lock(mutex_);
  return contexts_[static_cast<size_t>(device)].flags;
}

bool Contexts::EnablePeer(int device, int peer) {
  MutexLock lock(mutex_);
  uint64_t& peers = contexts_[static_cast<size_t>(device)].peers;
  const uint64_t before = std::exchange(peers, peers | uint64_t{1} << peer);
  return before != peers;
}

bool Contexts::DisablePeer(int device, int peer) {
  MutexLock lock(mutex_);
  uint64_t& peers = contexts_[static_cast<size_t>(device)].peers;
  const uint64_t before = std::exchange(peers, peers & ~(uint64_t{1} << peer));
  return before != peers;
}

CUcontext Contexts::Handle(int device) {
  static std::array<char, 64> handles;
  return reinterpret_cast<CUcontext>(&handles[static_cast<size_t>(device)]);
}

}  // namespace fake_cudart
