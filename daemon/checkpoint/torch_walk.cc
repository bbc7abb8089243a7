#include "checkpoint/torch_walk.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "checkpoint/collector.h"
#include "checkpoint/torch_globals.h"

namespace modeld::checkpoint {

using Kind = PickleReader::Kind;

PickleReader::Value TorchWalk::Unwrap(Value value) const {
  for (int depth = 0; depth < kMaxTorchDepth; ++depth) {
    if (pickle_.kind(value) == Kind::kObject) {
      const auto state = pickle_.state(value);
      if (!state) return value;
      value = *state;
      continue;
    }
    if (pickle_.kind(value) != Kind::kCall) return value;
    const auto function = static_cast<TorchGlobal>(pickle_.global(pickle_.callee(value)).id);
    const auto arguments = pickle_.items(pickle_.arguments(value));
    if (arguments.empty() ||
        (function != TorchGlobal::kTypedList && function != TorchGlobal::kTypeTag)) {
      return value;
    }
    value = arguments[0];
  }
  return value;
}

absl::Status TorchWalk::Collect(Value value, const std::string& name, size_t most,
                                std::vector<TorchTensor>* found) {
  name_ = name;
  depth_ = 0;
  most_ = most;
  found_ = found;
  return Visit(value, 0);
}

absl::Status TorchWalk::Visit(Value value, int depth) {
  if (++visits_ > kMaxTorchVisits) {
    return source_.Malformed(value, "values that contain each other too many times");
  }
  if (tensors_.IsTensor(value)) {
    if (found_->size() >= most_) {
      return source_.Malformed(value, absl::StrCat("more than ", kMaxTensors, " tensors"));
    }
    auto tensor = tensors_.Read(value, name_);
    if (!tensor.ok()) return tensor.status();
    found_->push_back(*std::move(tensor));
    return absl::OkStatus();
  }
  value = Unwrap(value);
  switch (pickle_.kind(value)) {
    case Kind::kDict:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSet:
      break;
    case Kind::kPersistent:
      return TorchUnsupported(*source_.file, source_.ByteOf(pickle_.position(value)),
                              "a storage by itself, without a tensor", {}, name_);
    default:
      return absl::OkStatus();
  }
  if (depth >= kMaxTorchDepth) {
    return source_.Malformed(
        value, absl::StrCat("values nested more than ", kMaxTorchDepth, " levels deep"));
  }
  depth_ = depth;
  if (pickle_.kind(value) == Kind::kDict) return CollectDict(value);
  size_t index = 0;
  for (const Value item : pickle_.items(value)) {
    depth_ = depth;
    if (auto status = CollectItem(item, absl::StrCat(index++)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status TorchWalk::CollectDict(Value value) {
  const int depth = depth_;
  const auto items = pickle_.items(value);
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    depth_ = depth;
    absl::Status status;
    switch (pickle_.kind(items[i])) {
      case Kind::kText:
        status = CollectItem(items[i + 1], pickle_.text(items[i]));
        break;
      case Kind::kInt:
        status = CollectItem(items[i + 1], absl::StrCat(pickle_.integer(items[i])));
        break;
      default:
        if (!Holds(items[i + 1])) break;
        status =
            TorchUnsupported(*source_.file, source_.ByteOf(pickle_.position(items[i + 1])),
                             "a tensor under a key that is neither text nor a number", {}, name_);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status TorchWalk::CollectItem(Value value, std::string_view part) {
  const size_t outer = name_.size();
  if (outer + part.size() + 1 > kMaxZipNameBytes) {
    return source_.Malformed(value,
                             absl::StrCat("a name of more than ", kMaxZipNameBytes, " bytes"));
  }
  if (depth_ > 0 || outer > 0) name_ += '.';
  name_ += part;
  const absl::Status status = Visit(value, depth_ + 1);
  name_.resize(outer);
  return status;
}

bool TorchWalk::Holds(Value value) { return HoldsAt(value, 0); }

bool TorchWalk::HoldsAt(Value value, int depth) {
  if (tensors_.IsTensor(value)) return true;
  if (depth >= kMaxTorchDepth || ++visits_ > kMaxTorchVisits) return false;
  value = Unwrap(value);
  const auto items = pickle_.items(value);
  const bool dict = pickle_.kind(value) == Kind::kDict;
  if (pickle_.kind(value) == Kind::kPersistent) return false;
  for (size_t i = dict ? 1 : 0; i < items.size(); i += dict ? 2 : 1) {
    if (HoldsAt(items[i], depth + 1)) return true;
  }
  return false;
}

}  // namespace modeld::checkpoint
