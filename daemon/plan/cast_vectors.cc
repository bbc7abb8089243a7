#include "plan/cast_vectors.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include <cstdint>

namespace modeld::plan {
namespace {

using wire::DType;

// A program for any x86-64 processor may hold functions for newer ones, as long as nobody calls
// them elsewhere.
#define MODELD_VECTORS [[gnu::target("avx2,f16c")]]

// Of floats, which everything is on its way.
constexpr size_t kLanes = 8;

template <DType from>
MODELD_VECTORS inline __m256 Load(const std::byte* in) {
  if constexpr (from == DType::kF64) {
    const __m256d low = _mm256_loadu_pd(reinterpret_cast<const double*>(in));
    const __m256d high = _mm256_loadu_pd(reinterpret_cast<const double*>(in + sizeof(low)));
    return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
  } else if constexpr (from == DType::kF32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(in));
  } else {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    if constexpr (from == DType::kF16) return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
}

// The low 16 bits of each lane. REQUIRES: the others are 0
MODELD_VECTORS inline __m128i Packed(__m256i lanes) {
  return _mm_packus_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
}

// All bits of each lane that is one. (Compared as integers: clang 14 makes slow code of a
// comparison of what was a half.)
MODELD_VECTORS inline __m256i IsNan(__m256 floats) {
  const __m256i magnitude =
      _mm256_and_si256(_mm256_castps_si256(floats), _mm256_set1_epi32(INT32_MAX));
  return _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
}

// The processor keeps a NaN's payload: it is taken away.
MODELD_VECTORS inline __m128i ToF16(__m256 floats) {
  const __m128i halves = _mm256_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT);
  const __m256i nan = IsNan(floats);
  const __m128i is_nan =
      _mm_packs_epi32(_mm256_castsi256_si128(nan), _mm256_extracti128_si256(nan, 1));
  const __m128i quiet =
      _mm_or_si128(_mm_and_si128(halves, _mm_set1_epi16(INT16_MIN)), _mm_set1_epi16(0x7e00));
  return _mm_blendv_epi8(halves, quiet, is_nan);
}

MODELD_VECTORS inline __m128i ToBF16(__m256 floats) {
  const __m256i bits = _mm256_castps_si256(floats);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i nan = IsNan(floats);
  return Packed(_mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan));
}

template <DType to>
MODELD_VECTORS inline void Store(__m256 floats, std::byte* out) {
  if constexpr (to == DType::kF32) {
    _mm256_storeu_ps(reinterpret_cast<float*>(out), floats);
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     to == DType::kF16 ? ToF16(floats) : ToBF16(floats));
  }
}

template <DType from, DType to>
MODELD_VECTORS void Vectors(const std::byte* in, std::byte* out, size_t count) {
  constexpr size_t kIn = kLanes * (from == DType::kF64 ? 8 : from == DType::kF32 ? 4 : 2);
  constexpr size_t kOut = kLanes * (to == DType::kF32 ? 4 : 2);
  for (size_t i = 0; i < count; ++i) Store<to>(Load<from>(in + i * kIn), out + i * kOut);
}

using Function = void (*)(const std::byte* in, std::byte* out, size_t count);

template <DType from>
Function ChooseTo(DType to) {
  switch (to) {
    case DType::kF32:
      return Vectors<from, DType::kF32>;
    case DType::kF16:
      return Vectors<from, DType::kF16>;
    default:
      return Vectors<from, DType::kBF16>;
  }
}

Function Choose(const Cast& cast) {
  switch (cast.from) {
    case DType::kF64:
      return ChooseTo<DType::kF64>(cast.to);
    case DType::kF32:
      return ChooseTo<DType::kF32>(cast.to);
    case DType::kF16:
      return ChooseTo<DType::kF16>(cast.to);
    default:
      return ChooseTo<DType::kBF16>(cast.to);
  }
}

// clang 14 knows no "f16c" for __builtin_cpu_supports. What the system must do for it, it does for
// AVX2.
bool HasF16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

size_t CastVectors(const Cast& cast, const std::byte* in, std::byte* out, size_t count) {
  static const bool there = __builtin_cpu_supports("avx2") && HasF16c();
  if (!there) return 0;
  const size_t vectors = count / kLanes;
  Choose(cast)(in, out, vectors);
  return vectors * kLanes;
}

}  // namespace modeld::plan

#else

namespace modeld::plan {

size_t CastVectors(const Cast&, const std::byte*, std::byte*, size_t) { return 0; }

}  // namespace modeld::plan

#endif
