#include "modelctl/tree.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

namespace modeld::modelctl {
namespace {

// As ScopeNode, while it grows.
struct Node {
  std::map<std::string, Node> children;
  std::vector<ScopeUse> uses;
};

uint64_t WeightBytes(const v1::Residency& residency) {
  return residency.tensor_bytes() != 0 ? residency.tensor_bytes() : residency.size_bytes();
}

bool IsResident(const v1::Residency& residency) {
  return residency.state() == v1::Residency::READY || residency.state() == v1::Residency::DRAINING;
}

void AddUse(Node& node, const v1::Lease& lease, uint64_t size_bytes) {
  auto use = std::find_if(node.uses.begin(), node.uses.end(), [&](const ScopeUse& use) {
    return use.residency_id() == lease.residency_id() && use.reference() == lease.reference();
  });
  if (use == node.uses.end()) {
    use = node.uses.emplace(node.uses.end());
    use->set_residency_id(lease.residency_id());
    use->set_reference(lease.reference());
    use->set_size_bytes(size_bytes);
  }
  use->set_lease_count(use->lease_count() + 1);
  use->add_pids(lease.pid());
}

void Write(const std::string& name, const Node& node, ScopeNode& out) {
  out.set_name(name);
  for (const ScopeUse& use : node.uses) *out.add_uses() = use;
  for (const auto& [child_name, child] : node.children)
    Write(child_name, child, *out.add_children());
}

}  // namespace

ScopeTree MakeScopeTree(const v1::ListResidenciesResponse& residencies,
                        const v1::ListLeasesResponse& leases) {
  std::map<std::string, const v1::Residency*> by_id;
  for (const v1::Residency& residency : residencies.residencies())
    by_id.emplace(residency.id(), &residency);

  ScopeTree tree;
  Node root;
  std::set<std::string> used;
  for (const v1::Lease& lease : leases.leases()) {
    const auto residency = by_id.find(lease.residency_id());
    const uint64_t bytes = residency == by_id.end() ? 0 : WeightBytes(*residency->second);
    Node* node = &root;
    for (const auto part : absl::StrSplit(lease.scope(), '/', absl::SkipEmpty())) {
      node = &node->children[std::string(part)];
    }
    AddUse(*node, lease, bytes);
    tree.set_uses(tree.uses() + 1);
    tree.set_bytes_without_sharing(tree.bytes_without_sharing() + bytes);
    if (used.insert(lease.residency_id()).second) tree.set_bytes(tree.bytes() + bytes);
  }
  tree.set_copies(used.size());

  for (const auto& [name, node] : root.children) Write(name, node, *tree.add_roots());
  if (!root.uses.empty()) Write("", Node{.children = {}, .uses = root.uses}, *tree.add_roots());

  for (const v1::Residency& residency : residencies.residencies()) {
    if (!IsResident(residency) || used.contains(residency.id())) continue;
    ScopeUse& idle = *tree.add_idle();
    idle.set_residency_id(residency.id());
    idle.set_reference(residency.reference());
    idle.set_size_bytes(WeightBytes(residency));
  }
  return tree;
}

}  // namespace modeld::modelctl
