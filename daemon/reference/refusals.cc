#include "reference/refusals.h"

#include <errno.h>
#include <unistd.h>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "reference/parse_reference.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

using wire::MakeError;
using wire::Reason;

std::string List(const std::vector<std::string>& paths) {
  return absl::StrJoin(paths, ", ", [](std::string* out, const std::string& path) {
    absl::StrAppend(out, Quoted(path));
  });
}

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// "reference `x` (`/root/x`)", or only the reference where both are the same.
std::string Name(const Subject& subject, const std::string& path) {
  if (subject.reference == path) return Quoted(path);
  return wire::StrCat(Quoted(subject.reference), " (", Quoted(path), ")");
}

absl::Status Outside(const Subject& subject, const std::vector<std::string>& roots,
                     const std::string& where) {
  return MakeError(Reason::kPathNotAllowed,
                   wire::StrCat(Name(subject, where), " is outside the roots: ", List(roots)),
                   {{"reference", subject.reference},
                    {"path", subject.path},
                    {"real_path", where},
                    {"roots", absl::StrJoin(roots, ":")}},
                   wire::StrCat("move the checkpoint under a root, or add a root: `modeld --root ",
                                Parent(where), "`, or `roots` in modeld.toml"));
}

absl::Status NotFound(const Subject& subject, const std::string& where, int error) {
  const bool home = subject.reference.starts_with("~");
  return MakeError(
      Reason::kCheckpointNotFound,
      wire::StrCat(Quoted(subject.reference), " was not found: ",
                   where == subject.path ? "" : wire::StrCat("there is no ", Quoted(where), ": "),
                   wire::ErrnoText(error)),
      {{"reference", subject.reference}, {"path", subject.path}, {"missing", where}},
      home ? "modeld does not expand `~`: name the absolute path"
           : wire::StrCat("look with `ls -l ", Parent(where), "`"));
}

std::string_view KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "directory";
  if (S_ISFIFO(mode)) return "fifo";
  if (S_ISSOCK(mode)) return "socket";
  if (S_ISCHR(mode)) return "character device";
  if (S_ISBLK(mode)) return "block device";
  return "special file";
}

}  // namespace

bool IsMissing(const absl::Status& status) {
  return wire::GetReason(status) == Reason::kCheckpointNotFound;
}

absl::Status NoRoots(const std::string& reference) {
  return MakeError(
      Reason::kPathNotAllowed,
      wire::StrCat(Quoted(reference), " is not allowed: modeld has no roots configured, ",
                   "so it opens no checkpoint at all"),
      {{"reference", reference}, {"roots", ""}},
      "start modeld with --root DIR, or set `roots` in modeld.toml");
}

absl::Status NotFoundInRoots(const std::string& reference, const std::vector<std::string>& roots,
                             bool hub) {
  const bool home = reference.starts_with("~");
  return MakeError(
      Reason::kCheckpointNotFound,
      wire::StrCat(Quoted(reference), " was not found in any root: ", List(roots),
                   hub ? ", nor as a model in a Hugging Face cache there" : ""),
      {{"reference", reference}, {"roots", absl::StrJoin(roots, ":")}},
      home ? "modeld does not expand `~`: name the absolute path"
           : wire::StrCat("a relative reference starts at a root, never at a working directory",
                          hub ? "; a model of the hub must have been downloaded" : ""));
}

absl::Status DigestNotResident(const std::string& reference) {
  return MakeError(Reason::kCheckpointNotFound,
                   wire::StrCat("nothing resident has the digest ", Quoted(reference)),
                   {{"reference", reference}},
                   "a digest names what is resident (`modelctl ps -o wide`): load it by its path");
}

absl::Status Refusal(const Subject& subject, const std::vector<std::string>& roots,
                     const Explanation& why, int error) {
  switch (why.kind) {
    case Explanation::Kind::kOutside:
      return Outside(subject, roots, why.where);
    case Explanation::Kind::kNotAllowed: {
      struct stat status = {};
      if (::stat(why.where.c_str(), &status) != 0) return ReadFailed(subject, why.where, EACCES);
      return MayNotRead(subject, why.where, status, EACCES);
    }
    case Explanation::Kind::kLoop:
      return NotFound(subject, why.where, ELOOP);
    case Explanation::Kind::kMissing:
      if (error == ENAMETOOLONG) {
        return MakeError(Reason::kFieldInvalid,
                         wire::StrCat(Quoted(subject.path), " is too long for a path"),
                         {{"field", "reference"}}, "use a shorter path");
      }
      return NotFound(subject, why.where, error == ENOTDIR ? ENOTDIR : ENOENT);
    case Explanation::Kind::kInside:
      if (error == ENOTDIR) return NotFound(subject, subject.path, error);  // a file, and a slash
      break;
  }
  return ReadFailed(subject, why.where, error);
}

absl::Status NotAFile(const Subject& subject, const std::string& real_path, mode_t mode) {
  return MakeError(
      Reason::kFormatUnsupported,
      wire::StrCat(Name(subject, real_path), " is a ", KindOf(mode), ", not a checkpoint file"),
      {{"reference", subject.reference}, {"file", real_path}},
      "name a regular file, such as a .safetensors file, or a directory");
}

absl::Status NothingThere(const Subject& subject, const std::string& real_path,
                          const std::vector<std::string>& components) {
  std::vector<std::string> paths;
  for (const std::string& name : components) paths.push_back(wire::StrCat(real_path, "/", name));
  return MakeError(
      Reason::kFormatUnsupported,
      wire::StrCat(Name(subject, real_path), " is a directory without weights or small files",
                   paths.empty() ? "" : wire::StrCat("; its parts are: ", List(paths))),
      {{"reference", subject.reference},
       {"file", real_path},
       {"components", absl::StrJoin(components, ",")}},
      paths.empty()
          ? "name a directory with weights (.safetensors, .bin, .pt, .gguf, ...), or a file"
          : "name one of its parts");
}

absl::Status TooManyEntries(const Subject& subject, const std::string& real_path, size_t most) {
  return MakeError(
      Reason::kFieldInvalid,
      wire::StrCat(Name(subject, real_path), " is a directory of more than ", most, " entries"),
      {{"field", "reference"}, {"file", real_path}}, "name the file that is meant");
}

absl::Status MayNotRead(const Subject& subject, const std::string& real_path,
                        const struct stat& status, int error) {
  return MakeError(
      Reason::kReadFailed,
      absl::StrFormat("%s cannot be read: %s: modeld runs as uid %d, and %s belongs to %d:%d with "
                      "mode %04o",
                      Name(subject, real_path), wire::ErrnoText(error), ::geteuid(),
                      S_ISDIR(status.st_mode) ? "the directory" : "the file", status.st_uid,
                      status.st_gid, status.st_mode & 07777),
      {{"reference", subject.reference},
       {"file", real_path},
       {"uid", wire::StrCat(::geteuid())},
       {"mode", absl::StrFormat("%04o", status.st_mode & 07777)}},
      "let the user that modeld runs as read it (chmod, chgrp, setfacl)");
}

absl::Status ReadFailed(const Subject& subject, const std::string& real_path, int error) {
  const bool short_of_fds = error == EMFILE || error == ENFILE;
  return MakeError(
      short_of_fds ? Reason::kLimitReached : Reason::kReadFailed,
      wire::StrCat(Name(subject, real_path), " cannot be opened: ", wire::ErrnoText(error)),
      {{"reference", subject.reference}, {"file", real_path}},
      short_of_fds ? "raise LimitNOFILE of modeld, or fs.file-max of the machine"
                   : "look for errors of the file system in `dmesg`");
}

absl::Status EmptyFile(const Subject& subject, const std::string& real_path) {
  return MakeError(Reason::kCheckpointMalformed,
                   wire::StrCat(Name(subject, real_path), " is empty"),
                   {{"reference", subject.reference}, {"file", real_path}, {"byte", "0"}},
                   "download or write it again: the copy may have been interrupted");
}

absl::Status KeptMoving(const Subject& subject, int attempts) {
  return MakeError(Reason::kCheckpointChanged,
                   wire::StrCat(Quoted(subject.reference), " was moved or replaced each of the ",
                                attempts, " times it was opened"),
                   {{"reference", subject.reference}, {"path", subject.path}},
                   "try again when whatever writes there has finished");
}

}  // namespace modeld::reference
