// The other end of libmodeld, in the test's own process: real sockets, and whatever answers a test
// wants.

#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "modeld/v1/attach.pb.h"
#include "modeld/v1/residency_service.grpc.pb.h"
#include "wire/error.h"
#include "wire/framed_socket.h"
#include "wire/memfd.h"
#include "wire/mutex.h"
#include "wire/tensor_table.h"

namespace modeld::testing {

// A residency that can be granted: a table and its segments, sealed.
struct Checkpoint {
  std::string table;
  wire::UniqueFd table_fd;
  uint64_t reference_table_size_bytes = 0;  // 0: there is none
  wire::UniqueFd reference_table_fd;
  std::vector<wire::UniqueFd> segments;  // their descriptors, in order
  std::vector<uint64_t> segment_sizes;
  std::string device = "host";
  uint64_t chunk_bytes = 0;  // on a GPU: the segment is so many bytes of VMM memory each

  // `w.0`, `w.1`, ... of F32 [2, 3], 64 bytes apart, in the reverse of their order by name; byte i
  // of the segment is i % 251. The first segment holds everything;
  // `extra_segments` are there besides.
  static std::shared_ptr<Checkpoint> Make(int tensors = 3, int extra_segments = 0);
  // `w.0`, `w.1`, ... one in each chunk of 2 MiB of one segment on that GPU; byte i is i % 251. The
  // memory is that of the fake plugin.
  static std::shared_ptr<Checkpoint> MakeOnGpu(const std::string& uuid, int chunks = 3);

  v1::Granted Grant(const std::string& lease_id) const;
  void SetReferenceTable(const std::string& bytes);
};

// One Acquire call, as the script sees it. Thread-safe.
class Call final : public grpc::ServerWriteReactor<v1::AcquireUpdate> {
 public:
  Call(class ScriptedDaemon* daemon, v1::AcquireRequest request, std::string session);

  const v1::AcquireRequest& request() const { return request_; }
  const std::string& session() const { return session_; }
  const std::string& lease_id() const { return lease_id_; }

  void Send(v1::AcquireUpdate update);
  void Progress(v1::Progress::Phase phase, uint64_t done, uint64_t total);
  void Grant(const v1::Granted& granted);
  // Grants the daemon's checkpoint.
  void Grant();
  void End(const absl::Status& status);

 private:
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void WriteNext() MODELD_REQUIRES(mutex_);

  ScriptedDaemon* const daemon_;
  const v1::AcquireRequest request_;
  const std::string session_;
  const std::string lease_id_;

  wire::Mutex mutex_;
  std::deque<v1::AcquireUpdate> updates_ MODELD_GUARDED_BY(mutex_);
  bool writing_ MODELD_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> end_ MODELD_GUARDED_BY(mutex_);
  bool finished_ MODELD_GUARDED_BY(mutex_) = false;
};

// Thread-safe, but for the scripts, which are set before a client comes.
class ScriptedDaemon {
 public:
  enum class Greeting { kWelcome, kRefuse, kHangUp, kGarbage, kOtherProtocol };

  ScriptedDaemon();  // listens
  ~ScriptedDaemon();

  std::string socket_path() const { return dir_ + "/modeld.sock"; }

  void Start();
  // Everything ends at once, as when a daemon dies.
  void Stop();

  // ---- scripts
  Greeting greeting = Greeting::kWelcome;
  std::shared_ptr<Checkpoint> checkpoint = Checkpoint::Make();
  // Called for each Acquire. Default: grants.
  std::function<void(Call&)> on_acquire = [](Call& call) { call.Grant(); };
  // Called for each question on attach.sock. Default: AnswerFds with the checkpoint's.
  std::function<void(wire::FramedSocket&, const v1::GetLeaseFds&)> on_get_fds;
  // Called when a call is cancelled or ends, before it is counted as ended.
  std::function<void(const Call&)> on_ended;

  static void AnswerFds(wire::FramedSocket& socket, uint64_t request_id, std::vector<int> fds,
                        size_t fds_a_frame = wire::kMaxFdsPerFrame);
  std::vector<int> Fds() const;

  // ---- what happened
  int calls_begun() const { return begun_; }
  int calls_open();
  int attach_connections() const { return attach_connections_; }
  // The requests so far.
  std::vector<v1::AcquireRequest> requests();
  // Wait, at most twenty seconds.
  [[nodiscard]] bool WaitForOpenCalls(int count);
  [[nodiscard]] bool WaitForBegunCalls(int count);
  // Does something with every call that is open.
  void ForEachCall(const std::function<void(Call&)>& action);

 private:
  friend class Call;
  class Service;
  // A connection to attach.sock, and the thread that serves it.
  struct Attachment {
    explicit Attachment(wire::UniqueFd fd) : socket(std::move(fd), 4096) {}

    wire::FramedSocket socket;
    std::thread thread;
  };

  void AcceptAttach();
  // Removes what has ended: a test may make more connections than a process may have descriptors.
  void ReapAttachments();
  void ServeAttach(wire::FramedSocket& socket);
  void Begin(Call* call);
  void Ended(Call* call);

  const std::string dir_;
  std::atomic<int> begun_{0};
  std::atomic<int> attach_connections_{0};
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  wire::UniqueFd listener_;
  std::thread accepter_;

  wire::Mutex mutex_;
  wire::CondVar changed_;
  std::list<Call*> calls_ MODELD_GUARDED_BY(mutex_);
  std::vector<v1::AcquireRequest> requests_ MODELD_GUARDED_BY(mutex_);
  std::map<std::string, bool> sessions_ MODELD_GUARDED_BY(mutex_);
  std::list<Attachment> attachments_ MODELD_GUARDED_BY(mutex_);
  std::list<Attachment> ended_attachments_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::testing
