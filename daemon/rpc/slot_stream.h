// A stream of updates of which each kind needs to be told once, or only as it is last.

#pragma once

#include <array>
#include <bitset>
#include <utility>

#include "rpc/server_stream.h"
#include "wire/mutex.h"

namespace modeld::rpc {

// One slot per kind of update, sent in the order of the slots; a newer update replaces an unsent
// one of its kind. So a client that does not read costs `kSlots` messages. Slot 0 is for progress:
// anything else makes an unsent one pointless.
template <class Message, size_t kSlots>
class SlotStream : public ServerStream<Message> {
 protected:
  // Thread-safe; never waits.
  void Put(size_t slot, Message&& message) {
    {
      wire::MutexLock lock(mutex_);
      if (slot > 0) filled_.reset(0);
      filled_.set(slot);
      slots_[slot] = std::move(message);
    }
    this->Wake();
  }

 private:
  bool Next(Message& message) final {
    wire::MutexLock lock(mutex_);
    for (size_t slot = 0; slot < kSlots; ++slot) {
      if (!filled_.test(slot)) continue;
      filled_.reset(slot);
      message.Swap(&slots_[slot]);
      return true;
    }
    return false;
  }

  wire::Mutex mutex_;
  std::bitset<kSlots> filled_ MODELD_GUARDED_BY(mutex_);
  std::array<Message, kSlots> slots_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::rpc
