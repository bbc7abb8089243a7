// Is this a build whose memory and speed are not the product's?

#pragma once

namespace modeld::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace modeld::test
