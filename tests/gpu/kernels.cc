#include "gpu/kernels.h"

#include "gpu/driver.h"

namespace modeld::gpu_test {
namespace {

// For any GPU since Pascal: PTX of an old target is compiled for newer ones.
constexpr char kPtx[] = R"(
.version 7.0
.target sm_60
.address_size 64

.visible .entry store(.param .u64 store_to)
{
  .reg .b64 %rd<3>;
  .reg .b32 %r<2>;
  ld.param.u64 %rd1, [store_to];
  cvta.to.global.u64 %rd2, %rd1;
  mov.u32 %r1, 1;
  st.global.u32 [%rd2], %r1;
  ret;
}

.visible .entry sum(.param .u64 sum_from, .param .u32 sum_words, .param .u64 sum_to)
{
  .reg .b64 %rd<6>;
  .reg .b32 %r<6>;
  .reg .pred %p<2>;
  ld.param.u64 %rd1, [sum_from];
  ld.param.u32 %r1, [sum_words];
  ld.param.u64 %rd2, [sum_to];
  cvta.to.global.u64 %rd3, %rd1;
  cvta.to.global.u64 %rd4, %rd2;
  mov.u32 %r2, 0;
  mov.u32 %r3, 0;
again:
  setp.ge.u32 %p1, %r3, %r1;
  @%p1 bra done;
  ld.global.u32 %r4, [%rd3];
  add.u32 %r2, %r2, %r4;
  add.u64 %rd3, %rd3, 4;
  add.u32 %r3, %r3, 1;
  bra again;
done:
  st.global.u32 [%rd4], %r2;
  ret;
}
)";

std::string Launch(const char* name, void** arguments) {
  const Driver& driver = TheDriver();
  static CUmodule module = nullptr;
  CUresult error = module != nullptr ? CUDA_SUCCESS : driver.load_module(&module, kPtx);
  CUfunction function = nullptr;
  if (error == CUDA_SUCCESS) error = driver.get_function(&function, module, name);
  if (error == CUDA_SUCCESS) {
    error = driver.launch(function, 1, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr);
  }
  if (error != CUDA_SUCCESS) return ErrorText(error);
  return ErrorText(cudaDeviceSynchronize());
}

}  // namespace

const char* Ptx() { return kPtx; }

bool HasKernels() {
  const Driver& driver = TheDriver();
  return driver.load_module != nullptr && driver.get_function != nullptr &&
         driver.launch != nullptr;
}

std::string Sum(const void* device_address, uint32_t words, uint32_t* sum) {
  void* to = nullptr;
  std::string error = ErrorText(cudaMalloc(&to, sizeof(*sum)));
  if (!error.empty()) return error;
  void* arguments[] = {&device_address, &words, &to};
  error = Launch("sum", arguments);
  if (error.empty()) error = ErrorText(cudaMemcpy(sum, to, sizeof(*sum), cudaMemcpyDeviceToHost));
  (void)cudaFree(to);
  return error;
}

std::string Store(void* device_address) {
  void* arguments[] = {&device_address};
  return Launch("store", arguments);
}

}  // namespace modeld::gpu_test
