// What digesting costs a load: the same load until it is granted, with the digest asked for and
// without; by itself, and right behind another one that is being digested. From the page cache, in
// alternation, medians.

#include <string>
#include <vector>

#include "bare_agent.h"
#include "bench_table.h"
#include "bench_tools.h"
#include "large_checkpoint.h"

namespace modeld::bench {
namespace {

constexpr int kRepetitions = 7;
constexpr double kMaxSlowdown = 1.05;

struct Times {
  std::vector<double> alone;
  std::vector<double> behind;
};

class Bench {
 public:
  explicit Bench(const LargeCheckpoint& checkpoint) : checkpoint_(checkpoint) {}

  bool Run() {
    for (int i = 0; i <= kRepetitions; ++i) {
      // The first round makes the machine give the memory that the others reuse.
      const bool counts = i > 0;
      for (const bool digest : {i % 2 == 0, i % 2 != 0}) {
        Loads(digest, counts ? &(digest ? with_ : without_) : nullptr);
      }
    }
    SeeThatItIsDigested();
    bool ok = true;
    for (const auto& [name, times] :
         {std::pair{"load until granted, digest / none", &Times::alone},
          std::pair{"load behind one that is being digested / none is", &Times::behind}}) {
      const Row row =
          AtMost(name, Median(with_.*times), Median(without_.*times), "ms", kMaxSlowdown);
      Print(row);
      ok &= row.holds;
    }
    return ok;
  }

 private:
  // `times` may be null.
  void Loads(bool digest, Times* times) {
    checkpoint_.WarmCache();
    const double alone = TimeMillis([&] { agent_.Load(checkpoint_.JobAs("alone"), digest); });
    const double behind = TimeMillis([&] { agent_.Load(checkpoint_.JobAs("behind"), digest); });
    agent_.Release("alone");
    agent_.Release("behind");
    if (times == nullptr) return;
    times->alone.push_back(alone);
    times->behind.push_back(behind);
  }

  // Otherwise there would be nothing to compare.
  void SeeThatItIsDigested() {
    agent_.Load(checkpoint_.JobAs("last"), true);
    agent_.AwaitDigest("last");
  }

  const LargeCheckpoint& checkpoint_;
  BareAgent agent_;
  Times with_;
  Times without_;
};

int Main() {
  const LargeCheckpoint checkpoint(BenchDirectory(), BenchBytes(2));
  return Bench(checkpoint).Run() ? 0 : 1;
}

}  // namespace
}  // namespace modeld::bench

int main() { return modeld::bench::RunBench(modeld::bench::Main); }
