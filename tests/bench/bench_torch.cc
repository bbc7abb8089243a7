// From a .pt file to tensors that can be used: through modeld, against torch.load in a Python that
// lives as long. With the page cache empty and full, in alternation, medians.
//
// MODELD_BENCH_PYTHON is a Python with torch: Debian's unless it is set. MODELD_BENCH_GIB (default
// 2) is the file's size.

#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench_folder.h"
#include "bench_table.h"
#include "bench_tools.h"
#include "large_checkpoint.h"
#include "modeld/client.h"
#include "piped_process.h"
#include "resident.h"
#include "support/daemon_fixture.h"
#include "wire/unique_fd.h"

namespace modeld::bench {
namespace {

constexpr int kRepetitions = 5;
constexpr size_t kPageBytes = 4096;

void TouchEveryPage(const Model& model) {
  static volatile unsigned char sink;
  for (size_t i = 0; i < model.size(); ++i) {
    const TensorView tensor = model[i];
    const auto* const bytes = static_cast<const unsigned char*>(tensor.data);
    for (size_t at = 0; at < tensor.size_bytes; at += kPageBytes) sink = bytes[at];
  }
  (void)sink;
}

class Bench {
 public:
  Bench(const BenchFolder& folder, PipedProcess& torch)
      : path_(folder / "model.pt"),
        file_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)),
        torch_(torch),
        daemon_({.host_capacity = "75%", .roots = {folder.path()}}) {
    if (!file_.valid()) Die("torch has not written " + path_);
    if (!daemon_.running()) Die("no daemon");
    client_ = Client::Connect(daemon_.endpoint());
  }

  bool Run() {
    for (int i = 0; i <= kRepetitions; ++i) Round();
    // The first round makes the machine give the memory that the others reuse.
    for (auto& [name, seconds] : times_) seconds.erase(seconds.begin());
    Compare("load, cold / torch.load", "modeld cold", "torch cold", 1);
    Compare("load, page cache / torch.load", "modeld warm", "torch warm", 1);
    Compare("attach when resident / torch.load, page cache", "attach", "torch warm", 0.05);
    if (Median(times_.at("torch mmap")) > 0) {
      Compare("attach, all pages touched / torch.load(mmap=True), all touched", "attach, touched",
              "torch mmap", 0);
    }
    return ok_;
  }

 private:
  void Compare(const std::string& what, const char* ours, const char* theirs, double bound) {
    char size[32];
    std::snprintf(size, sizeof(size), "%.1f GiB .pt: ",
                  static_cast<double>(::lseek(file_.get(), 0, SEEK_END)) / (1 << 30));
    const Row row =
        AtMost(size + what, Median(times_.at(ours)), Median(times_.at(theirs)), "ms", bound);
    Print(row);
    ok_ &= row.holds;
  }

  void Note(const char* name, double seconds) { times_[name].push_back(seconds); }

  void Round() {
    DropPageCache(file_.get());
    Note("modeld cold", Load());
    EvictAll(daemon_);
    DropPageCache(file_.get());
    Note("torch cold", Torch("load"));
    FillPageCache(file_.get());
    Note("modeld warm", Load());
    Note("attach", Load());
    Note("attach, touched", Load(TouchEveryPage));
    EvictAll(daemon_);
    Note("torch warm", Torch("load"));
    Note("torch mmap", Torch("mmap"));
  }

  double Load(const std::function<void(const Model&)>& use = [](const Model&) {}) {
    std::shared_ptr<const Model> model;
    return TimeMillis([&] {
      model = client_->Acquire({.reference = path_});
      use(*model);
    });
  }

  double Torch(const std::string& how) {
    torch_.Send(how + "\n");
    return 1000 * torch_.Read();
  }

  const std::string path_;
  const wire::UniqueFd file_;
  PipedProcess& torch_;
  test::DaemonFixture daemon_;
  std::shared_ptr<Client> client_;
  std::map<std::string, std::vector<double>> times_;
  bool ok_ = true;
};

int Main() {
  const BenchFolder folder;
  PipedProcess torch("/usr/bin/env",
                     {Environment("MODELD_BENCH_PYTHON", "/usr/bin/python3"), "-W", "ignore",
                      std::string(MODELD_BENCH_SOURCE_DIR) + "/torch_archive.py",
                      folder / "model.pt", std::to_string(BenchBytes(2))});
  const std::string version = torch.ReadLine();
  if (!version.starts_with("torch ")) {
    Print({.name = "torch.load: not measured, " + version});
    return kNothingToMeasure;
  }
  Print({.name = "torch.load is that of " + version});
  return Bench(folder, torch).Run() ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main() { return modeld::bench::RunBench(modeld::bench::Main); }
