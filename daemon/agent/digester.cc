#include "agent/digester.h"

#include <pthread.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/log_line.h"
#include "wire/error.h"
#include "wire/memfd.h"

namespace modeld::agent {
namespace {

// What fails for want of memory may not fail later.
constexpr std::chrono::seconds kPauseAfterFailure{1};

// Not SCHED_IDLE: a killed process closes its descriptors when the last of its threads has run once
// more, and on a busy machine such a thread, even one that slept, was seen to take 20 s for that.
void BecomeIdle() {
  const sched_param none = {};
  ::sched_setscheduler(0, SCHED_BATCH, &none);
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 19);
  constexpr int kWhoProcess = 1;
  constexpr int kClassIdle = 3;
  constexpr int kClassShift = 13;
  ::syscall(SYS_ioprio_set, kWhoProcess, 0, kClassIdle << kClassShift);
}

absl::StatusOr<std::shared_ptr<const Digests>> Compute(const Residency& residency,
                                                       const std::function<bool()>& keep_going) {
  std::vector<std::unique_ptr<memory::SegmentReader>> segments;
  for (const auto& segment : residency.segments) {
    auto reader = memory::SegmentReader::Open(segment->exported);
    if (!reader.ok()) return reader.status();
    segments.push_back(*std::move(reader));
  }
  const wire::TableView& table = residency.table->view();
  auto tensors = wire::TensorDigests(
      table,
      [&](uint32_t region, uint64_t offset, uint64_t size_bytes) {
        return segments[region]->Read(offset, size_bytes);
      },
      keep_going);
  if (!tensors.ok()) return tensors.status();
  return SealDigests(table, *tensors);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Digests>> SealDigests(
    const wire::TableView& table, const std::vector<wire::Digest>& tensors) {
  auto digests = std::make_shared<Digests>();
  digests->weights = wire::WeightsDigest(table, tensors);
  const auto bytes = std::as_bytes(std::span(tensors));
  auto fd = wire::MakeSealedMemfd("modeld-digests",
                                  {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!fd.ok()) return fd.status();
  digests->table_fd = *std::move(fd);
  return digests;
}

Digester::Digester(OnDone on_done) : on_done_(std::move(on_done)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "digest");
}

Digester::~Digester() {
  {
    wire::MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void Digester::Add(std::shared_ptr<const Residency> residency) {
  {
    wire::MutexLock lock(mutex_);
    queue_.push_back(std::move(residency));
  }
  changed_.NotifyAll();
}

void Digester::Forget(const Residency* residency) {
  // Destroyed after the lock: it may be the last owner.
  std::vector<std::shared_ptr<const Residency>> dropped;
  wire::MutexLock lock(mutex_);
  for (auto it = queue_.begin(); it != queue_.end();) {
    if (it->get() != residency) {
      ++it;
      continue;
    }
    dropped.push_back(std::move(*it));
    it = queue_.erase(it);
  }
  if (current_ != residency) return;
  forget_current_ = true;
  changed_.NotifyAll();
  while (current_ == residency) changed_.Wait(mutex_);
}

void Digester::LoadBegan() {
  wire::MutexLock lock(mutex_);
  ++loads_;
}

void Digester::LoadEnded() {
  {
    wire::MutexLock lock(mutex_);
    --loads_;
  }
  changed_.NotifyAll();
}

bool Digester::KeepGoing() {
  wire::MutexLock lock(mutex_);
  while (loads_ > 0 && !stopping_ && !forget_current_) changed_.Wait(mutex_);
  return !stopping_ && !forget_current_;
}

void Digester::Later(const std::shared_ptr<const Residency>& residency) {
  const auto until = std::chrono::steady_clock::now() + kPauseAfterFailure;
  wire::MutexLock lock(mutex_);
  while (!stopping_ && !forget_current_ && changed_.WaitUntil(mutex_, until)) {
  }
  if (!stopping_ && !forget_current_) queue_.push_back(residency);
}

void Digester::Run() {
  BecomeIdle();
  while (true) {
    std::shared_ptr<const Residency> residency;
    {
      wire::MutexLock lock(mutex_);
      while ((queue_.empty() || loads_ > 0) && !stopping_) changed_.Wait(mutex_);
      if (stopping_) return;
      residency = std::move(queue_.front());
      queue_.pop_front();
      current_ = residency.get();
      forget_current_ = false;
    }
    const auto start = std::chrono::steady_clock::now();
    auto digests = Compute(*residency, [&] { return KeepGoing(); });
    bool wanted = false;
    {
      wire::MutexLock lock(mutex_);
      wanted = !forget_current_ && !stopping_;
    }
    const std::string id = residency->id;
    if (wanted && digests.ok()) {
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      spdlog::info("msg=\"digest\" residency={} digest={} seconds={:.3f}", id,
                   wire::DigestText((*digests)->weights), seconds.count());
      on_done_(id, *std::move(digests));
    } else if (wanted) {
      if (wire::GetReason(digests.status()) == wire::Reason::kDeviceLost) {
        on_done_(id, digests.status());
      } else {
        spdlog::error("msg=\"no digest\" residency={} error={}", id,
                      base::QuotedLogValue(std::string(digests.status().message())));
        Later(residency);
      }
    }
    // Before anyone who waits in Forget goes on: that is when the memory has to be free.
    residency.reset();
    wire::MutexLock lock(mutex_);
    current_ = nullptr;
    changed_.NotifyAll();
  }
}

}  // namespace modeld::agent
