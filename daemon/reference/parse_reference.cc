#include "reference/parse_reference.h"

#include <limits.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

absl::Status Invalid(std::string_view reference, std::string_view why, std::string_view hint) {
  return wire::MakeError(wire::Reason::kFieldInvalid,
                         wire::StrCat("reference ", Quoted(reference), " ", why),
                         {{"field", "reference"}}, hint);
}

constexpr std::string_view kPathHint =
    "name a checkpoint by an absolute path, a file:// URI, or a path relative to one of the roots";

// The length of `scheme` in `scheme:...` as RFC 3986 spells it, or 0.
size_t SchemeLength(std::string_view reference) {
  const size_t colon = reference.find(':');
  if (colon == std::string_view::npos || colon == 0) return 0;
  const std::string_view scheme = reference.substr(0, colon);
  if (!absl::ascii_isalpha(static_cast<unsigned char>(scheme[0]))) return 0;
  const bool valid = std::all_of(scheme.begin(), scheme.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '+' || c == '-' || c == '.';
  });
  return valid ? colon : 0;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

absl::StatusOr<std::string> PercentDecode(std::string_view reference, std::string_view encoded) {
  std::string decoded;
  decoded.reserve(encoded.size());
  for (size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%') {
      decoded.push_back(encoded[i]);
      continue;
    }
    const int high = i + 2 < encoded.size() ? HexDigit(encoded[i + 1]) : -1;
    const int low = i + 2 < encoded.size() ? HexDigit(encoded[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return Invalid(reference, "has a % that two hexadecimal digits do not follow",
                     "write a literal % as %25");
    }
    decoded.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return decoded;
}

// The path in what follows `file:`.
absl::StatusOr<std::string> FileUriPath(std::string_view reference, std::string_view rest) {
  if (rest.find_first_of("?#") != std::string_view::npos) {
    return Invalid(reference, "has a query or a fragment, which a file has not",
                   "write a literal ? as %3F and a literal # as %23");
  }
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view host = rest.substr(0, slash);
    if (!host.empty() && !absl::EqualsIgnoreCase(wire::ToAbsl(host), "localhost")) {
      return Invalid(reference, wire::StrCat("names the host ", Quoted(host)),
                     "only files of this machine can be named: file:///path");
    }
    rest.remove_prefix(slash);
  }
  if (!rest.starts_with("/")) {
    return Invalid(reference, "is a file URI without an absolute path", "write file:///path");
  }
  return PercentDecode(reference, rest);
}

bool IsDigest(std::string_view reference) {
  constexpr std::string_view kPrefix = "sha256:";
  return reference.size() == kPrefix.size() + 64 && reference.starts_with(kPrefix) &&
         std::all_of(reference.begin() + kPrefix.size(), reference.end(),
                     [](char c) { return HexDigit(c) >= 0; });
}

}  // namespace

std::string Quoted(std::string_view path) {
  constexpr size_t kMostBytes = 512;
  if (path.size() <= kMostBytes)
    return wire::StrCat("`", absl::Utf8SafeCHexEscape(wire::ToAbsl(path)), "`");
  return wire::StrCat("`", absl::Utf8SafeCHexEscape(wire::ToAbsl(path.substr(0, kMostBytes))),
                      "...`");
}

absl::StatusOr<ReferencePath> ParseReference(std::string_view reference) {
  if (reference.empty()) {
    return wire::MakeError(wire::Reason::kFieldInvalid, "the reference is empty",
                           {{"field", "reference"}}, kPathHint);
  }
  if (reference.size() > kMaxReferenceBytes) {
    return Invalid(
        reference,
        wire::StrCat("is ", reference.size(), " bytes long; the limit is ", kMaxReferenceBytes),
        kPathHint);
  }

  ReferencePath result;
  if (IsDigest(reference)) {
    result.path = std::string(reference);
    result.digest = true;
    return result;
  }
  const size_t scheme = SchemeLength(reference);
  if (scheme > 0 && absl::EqualsIgnoreCase(wire::ToAbsl(reference.substr(0, scheme)), "file")) {
    auto path = FileUriPath(reference, reference.substr(scheme + 1));
    if (!path.ok()) return path.status();
    result.path = *std::move(path);
  } else if (scheme > 0 && reference.substr(scheme).starts_with("://")) {
    return Invalid(reference,
                   wire::StrCat("has the scheme ", Quoted(reference.substr(0, scheme)),
                                ", which modeld does not read"),
                   kPathHint);
  } else {
    result.path = std::string(reference);
  }

  if (result.path.find('\0') != std::string::npos) {
    return Invalid(reference, "holds a NUL byte", kPathHint);
  }
  for (const absl::string_view name : absl::StrSplit(result.path, '/')) {
    if (name.size() > NAME_MAX) {
      return Invalid(reference,
                     wire::StrCat("holds a name of ", name.size(),
                                  " bytes; a file's name has at most ", NAME_MAX),
                     kPathHint);
    }
  }
  result.absolute = result.path.front() == '/';
  return result;
}

}  // namespace modeld::reference
