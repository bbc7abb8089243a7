#include "scripted_daemon.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "gtest/gtest.h"

namespace modeld::testing {
namespace {

constexpr uint64_t kSegmentBytes = 2 << 20;
constexpr std::chrono::seconds kPatience{20};

std::string MakeDir() {
  std::string dir = "/tmp/mdclientXXXXXX";
  if (mkdtemp(dir.data()) == nullptr) abort();
  return dir;
}

std::string Pattern(uint64_t size) {
  std::string bytes(size, '\0');
  for (uint64_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

std::string NextLeaseId() {
  static std::atomic<int> next{1};
  return "lease-" + std::to_string(next++);
}

wire::UniqueFd Listen(const std::string& path) {
  wire::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  unlink(path.c_str());
  if (bind(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd.get(), 1024) != 0) {
    abort();
  }
  return fd;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
          wire::SerializeDetail(status)};
}

}  // namespace

std::shared_ptr<Checkpoint> Checkpoint::Make(int tensors, int extra_segments) {
  auto checkpoint = std::make_shared<Checkpoint>();
  const uint64_t first_bytes =
      (static_cast<uint64_t>(tensors) * 64 + kSegmentBytes) / kSegmentBytes * kSegmentBytes;
  checkpoint->segment_sizes.assign(1, first_bytes);
  checkpoint->segment_sizes.resize(1 + static_cast<size_t>(extra_segments), kSegmentBytes);
  wire::TableBuilder builder;
  for (const uint64_t size : checkpoint->segment_sizes) {
    builder.AddRegion(size);
    checkpoint->segments.push_back(
        *wire::MakeSealedMemfd("scripted-segment", Pattern(std::min(size, first_bytes))));
  }
  const std::vector<int64_t> shape = {2, 3};
  const std::vector<int64_t> strides = wire::ContiguousStrides(shape);
  for (int i = tensors - 1; i >= 0; --i) {
    const std::string name = "w." + std::to_string(i);
    builder.Add({.name = name,
                 .dtype = wire::DType::kF32,
                 .shape = shape,
                 .strides = strides,
                 .region = 0,
                 .offset = static_cast<uint64_t>(i) * 64,
                 .size_bytes = 24});
  }
  checkpoint->table = builder.Build();
  checkpoint->table_fd = *wire::MakeSealedMemfd("scripted-table", checkpoint->table);
  return checkpoint;
}

std::shared_ptr<Checkpoint> Checkpoint::MakeOnGpu(const std::string& uuid, int chunks) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->device = uuid;
  checkpoint->chunk_bytes = kSegmentBytes;
  const uint64_t size_bytes = static_cast<uint64_t>(chunks) * kSegmentBytes;
  checkpoint->segment_sizes.assign(1, size_bytes);
  const std::string bytes = Pattern(size_bytes);
  wire::TableBuilder builder;
  builder.AddRegion(size_bytes);
  const std::vector<int64_t> shape = {2, 3};
  const std::vector<int64_t> strides = wire::ContiguousStrides(shape);
  for (int i = 0; i < chunks; ++i) {
    const std::string name = "w." + std::to_string(i);
    const uint64_t offset = static_cast<uint64_t>(i) * kSegmentBytes;
    builder.Add({.name = name,
                 .dtype = wire::DType::kF32,
                 .shape = shape,
                 .strides = strides,
                 .region = 0,
                 .offset = offset,
                 .size_bytes = 24});
    checkpoint->segments.push_back(
        *wire::MakeSealedMemfd("scripted-chunk", bytes.substr(offset, kSegmentBytes)));
  }
  checkpoint->table = builder.Build();
  checkpoint->table_fd = *wire::MakeSealedMemfd("scripted-table", checkpoint->table);
  return checkpoint;
}

void Checkpoint::SetReferenceTable(const std::string& bytes) {
  reference_table_size_bytes = bytes.size();
  reference_table_fd = *wire::MakeSealedMemfd("scripted-reference", bytes);
}

v1::Granted Checkpoint::Grant(const std::string& lease_id) const {
  v1::Granted granted;
  granted.set_lease_id(lease_id);
  granted.set_residency_id("00000000000000a1");
  granted.set_generation(7);
  granted.set_device(device);
  granted.set_table_size_bytes(table.size());
  granted.set_reference_table_size_bytes(reference_table_size_bytes);
  for (const uint64_t size : segment_sizes) {
    v1::Segment* segment = granted.add_segments();
    segment->set_kind(chunk_bytes == 0 ? v1::Segment::HOST_MEMFD : v1::Segment::CUDA_VMM);
    segment->set_chunk_bytes(chunk_bytes);
    segment->set_size_bytes(size);
    segment->set_page_size_bytes(4096);
  }
  return granted;
}

Call::Call(ScriptedDaemon* daemon, v1::AcquireRequest request, std::string session)
    : daemon_(daemon),
      request_(std::move(request)),
      session_(std::move(session)),
      lease_id_(NextLeaseId()) {}

void Call::Send(v1::AcquireUpdate update) {
  wire::MutexLock lock(mutex_);
  updates_.push_back(std::move(update));
  WriteNext();
}

void Call::Progress(v1::Progress::Phase phase, uint64_t done, uint64_t total) {
  v1::AcquireUpdate update;
  update.mutable_progress()->set_phase(phase);
  update.mutable_progress()->set_bytes_done(done);
  update.mutable_progress()->set_bytes_total(total);
  Send(update);
}

void Call::Grant(const v1::Granted& granted) {
  v1::AcquireUpdate update;
  *update.mutable_granted() = granted;
  Send(update);
}

void Call::Grant() { Grant(daemon_->checkpoint->Grant(lease_id_)); }

void Call::End(const absl::Status& status) {
  wire::MutexLock lock(mutex_);
  if (!end_) end_ = ToGrpc(status);
  WriteNext();
}

void Call::WriteNext() {
  if (writing_ || finished_) return;
  if (!updates_.empty()) {
    writing_ = true;
    StartWrite(&updates_.front());
  } else if (end_) {
    finished_ = true;
    Finish(*end_);
  }
}

void Call::OnWriteDone(bool ok) {
  wire::MutexLock lock(mutex_);
  writing_ = false;
  updates_.pop_front();
  if (!ok) {
    updates_.clear();
    if (!end_) end_ = grpc::Status::CANCELLED;
  }
  WriteNext();
}

void Call::OnCancel() {
  wire::MutexLock lock(mutex_);
  if (!writing_) updates_.clear();
  if (!end_) end_ = grpc::Status::CANCELLED;
  WriteNext();
}

void Call::OnDone() {
  if (daemon_->on_ended) daemon_->on_ended(*this);
  daemon_->Ended(this);
  delete this;
}

class ScriptedDaemon::Service final : public v1::ResidencyService::CallbackService {
 public:
  explicit Service(ScriptedDaemon* daemon) : daemon_(daemon) {}

  grpc::ServerWriteReactor<v1::AcquireUpdate>* Acquire(grpc::CallbackServerContext* context,
                                                       const v1::AcquireRequest* request) override {
    const auto found = context->client_metadata().find("modeld-session-bin");
    std::string session;
    if (found != context->client_metadata().end()) {
      session.assign(found->second.data(), found->second.size());
    }
    auto* call = new Call(daemon_, *request, session);
    daemon_->Begin(call);
    return call;
  }

 private:
  ScriptedDaemon* const daemon_;
};

ScriptedDaemon::ScriptedDaemon() : dir_(MakeDir()) {
  on_get_fds = [this](wire::FramedSocket& socket, const v1::GetLeaseFds& question) {
    AnswerFds(socket, question.request_id(), Fds());
  };
  Start();
}

ScriptedDaemon::~ScriptedDaemon() {
  Stop();
  unlink(socket_path().c_str());
  unlink((dir_ + "/attach.sock").c_str());
  rmdir(dir_.c_str());
}

void ScriptedDaemon::Start() {
  listener_ = Listen(dir_ + "/attach.sock");
  accepter_ = std::thread([this] { AcceptAttach(); });
  unlink(socket_path().c_str());
  service_ = std::make_unique<Service>(this);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket_path(), grpc::InsecureServerCredentials());
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) abort();
}

void ScriptedDaemon::Stop() {
  if (server_ == nullptr) return;
  unlink((dir_ + "/attach.sock").c_str());
  shutdown(listener_.get(), SHUT_RDWR);
  accepter_.join();
  listener_.reset();
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  {
    wire::MutexLock lock(mutex_);
    for (Attachment& attachment : attachments_) attachment.socket.Shutdown();
    while (!attachments_.empty()) changed_.Wait(mutex_);
    sessions_.clear();
  }
  ReapAttachments();
  server_.reset();
  service_.reset();
}

void ScriptedDaemon::AnswerFds(wire::FramedSocket& socket, uint64_t request_id,
                               std::vector<int> fds, size_t fds_a_frame) {
  size_t sent = 0;
  do {
    const size_t count = std::min(fds_a_frame, fds.size() - sent);
    v1::AttachServerMessage message;
    message.mutable_lease_fds()->set_request_id(request_id);
    message.mutable_lease_fds()->set_fd_count(static_cast<uint32_t>(count));
    message.mutable_lease_fds()->set_more(sent + count < fds.size());
    if (!socket.Send(message.SerializeAsString(), std::span(fds).subspan(sent, count)).ok()) return;
    sent += count;
  } while (sent < fds.size());
}

std::vector<int> ScriptedDaemon::Fds() const {
  std::vector<int> fds = {checkpoint->table_fd.get()};
  if (checkpoint->reference_table_fd.valid()) fds.push_back(checkpoint->reference_table_fd.get());
  for (const auto& segment : checkpoint->segments) fds.push_back(segment.get());
  return fds;
}

int ScriptedDaemon::calls_open() {
  wire::MutexLock lock(mutex_);
  return static_cast<int>(calls_.size());
}

std::vector<v1::AcquireRequest> ScriptedDaemon::requests() {
  wire::MutexLock lock(mutex_);
  return requests_;
}

bool ScriptedDaemon::WaitForOpenCalls(int count) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  wire::MutexLock lock(mutex_);
  while (static_cast<int>(calls_.size()) != count) {
    if (!changed_.WaitUntil(mutex_, until)) return false;
  }
  return true;
}

bool ScriptedDaemon::WaitForBegunCalls(int count) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  wire::MutexLock lock(mutex_);
  while (begun_ < count) {
    if (!changed_.WaitUntil(mutex_, until)) return false;
  }
  return true;
}

void ScriptedDaemon::ForEachCall(const std::function<void(Call&)>& action) {
  wire::MutexLock lock(mutex_);
  for (Call* call : calls_) action(*call);
}

void ScriptedDaemon::AcceptAttach() {
  for (;;) {
    wire::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) return;
    ++attach_connections_;
    ReapAttachments();
    wire::MutexLock lock(mutex_);
    const auto attachment = attachments_.emplace(attachments_.end(), std::move(fd));
    attachment->thread = std::thread([this, attachment] {
      ServeAttach(attachment->socket);
      wire::MutexLock ended(mutex_);
      ended_attachments_.splice(ended_attachments_.end(), attachments_, attachment);
      changed_.NotifyAll();
    });
  }
}

void ScriptedDaemon::ReapAttachments() {
  std::list<Attachment> ended;
  {
    wire::MutexLock lock(mutex_);
    ended.swap(ended_attachments_);
  }
  for (Attachment& attachment : ended) attachment.thread.join();
}

void ScriptedDaemon::ServeAttach(wire::FramedSocket& socket) {
  static std::atomic<uint64_t> next{1};
  std::string session(16, '\0');
  const uint64_t number = next++;
  memcpy(session.data(), &number, sizeof(number));
  v1::AttachServerMessage message;
  switch (greeting) {
    case Greeting::kHangUp:
      socket.Shutdown();
      return;
    case Greeting::kGarbage:
      (void)send(socket.fd(), "HTTP/1.1 400 Bad Request", 24, MSG_NOSIGNAL);
      break;
    case Greeting::kRefuse:
      message.mutable_refused()->set_code(static_cast<int>(absl::StatusCode::kPermissionDenied));
      message.mutable_refused()->set_message("uid 1234 is not in allow_uids");
      message.mutable_refused()->mutable_detail()->set_reason("PEER_NOT_ALLOWED");
      message.mutable_refused()->mutable_detail()->set_hint("add it");
      break;
    case Greeting::kWelcome:
    case Greeting::kOtherProtocol:
      message.mutable_welcome()->set_session_id(session);
      message.mutable_welcome()->set_protocol_version(greeting == Greeting::kWelcome ? 1 : 99);
      message.mutable_welcome()->set_server_version("9.9");
      break;
  }
  if (message.message_case() != v1::AttachServerMessage::MESSAGE_NOT_SET) {
    wire::MutexLock lock(mutex_);
    sessions_[session] = true;
  }
  if (message.message_case() != v1::AttachServerMessage::MESSAGE_NOT_SET &&
      !socket.Send(message.SerializeAsString()).ok()) {
    return;
  }
  for (;;) {
    auto frame = socket.Receive();
    if (!frame.ok()) break;
    v1::AttachClientMessage asked;
    if (!asked.ParseFromString(frame->payload)) break;
    on_get_fds(socket, asked.get_lease_fds());
  }
  socket.Shutdown();
}

void ScriptedDaemon::Begin(Call* call) {
  bool known;
  {
    wire::MutexLock lock(mutex_);
    known = sessions_.contains(call->session());
    calls_.push_back(call);
    requests_.push_back(call->request());
    ++begun_;
    changed_.NotifyAll();
  }
  if (known) {
    on_acquire(*call);
  } else {
    call->End(wire::MakeError(wire::Reason::kSessionInvalid, "no such session"));
  }
}

void ScriptedDaemon::Ended(Call* call) {
  wire::MutexLock lock(mutex_);
  calls_.remove(call);
  changed_.NotifyAll();
}

}  // namespace modeld::testing
