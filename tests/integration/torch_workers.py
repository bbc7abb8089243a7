"""Checkpoints of one small network as PyTorch writes them, and what PyTorch computes with them.

usage: torch_workers.py FOLDER

Writes the checkpoints into FOLDER, and expected.json: the SHA-256 of each module's output for the ids that
torch_worker.cc has too, the tensors of each checkpoint, and the weights digest of docs/identity.md.
"""

import hashlib
import json
import os
import struct
import sys

import torch

folder = sys.argv[1]
torch.manual_seed(11)
torch.set_num_threads(1)
torch.set_grad_enabled(False)
ids = torch.arange(96).remainder(13).view(4, 24)
outputs = {}
checkpoints = {}
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}


def path(name):
    return os.path.join(folder, name)


def raw(tensor):
    return tensor.detach().contiguous().numpy().tobytes()


def describe(tensors):
    return {name: f"{DTYPES[t.dtype]} {list(t.shape)} {hashlib.sha256(raw(t)).hexdigest()}" for name, t in tensors.items()}


def weights_digest(tensors):
    h = hashlib.sha256(b"modeld.weights.v1" + struct.pack("<Q", len(tensors)))
    for name in sorted(tensors, key=str.encode):
        tensor, data = tensors[name], raw(tensors[name])
        for text in (name, DTYPES[tensor.dtype]):
            h.update(struct.pack("<I", len(text.encode())) + text.encode())
        h.update(struct.pack(f"<I{tensor.dim()}Q", tensor.dim(), *tensor.shape))
        root = hashlib.sha256(b"\x01" + struct.pack("<Q", len(data)))
        for i in range(0, len(data), 4 << 20):
            root.update(hashlib.sha256(b"\x00" + data[i:i + (4 << 20)]).digest())
        h.update(root.digest())
    return "sha256:" + h.hexdigest()


def save(name, value, tensors):
    torch.save(value, path(name))
    checkpoints[name] = {"tensors": describe(tensors), "digest": weights_digest(tensors)}


def save_safetensors(name, tensors):
    header, data = {}, b""
    for key, tensor in tensors.items():
        end = len(data) + len(raw(tensor))
        header[key] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [len(data), end]}
        data += raw(tensor)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path(name), "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def save_script(name, module):
    torch.jit.save(module, path(name))
    outputs[name] = hashlib.sha256(raw(torch.jit.load(path(name), "cpu")(ids))).hexdigest()


class Net(torch.nn.Module):
    """Its last layer is tied to its first."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(512, 64)
        self.first = torch.nn.Linear(64, 64)
        self.norm = torch.nn.BatchNorm1d(64)
        self.head = torch.nn.Linear(64, 512, bias=False)
        self.head.weight = self.embed.weight
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.norm.weight.normal_()
        self.norm.bias.normal_()

    def forward(self, ids):
        x = torch.relu(self.first(self.embed(ids)))
        return self.head(self.norm(x.transpose(1, 2)).transpose(1, 2))


class Other(Net):
    def forward(self, ids):
        return self.head(torch.tanh(self.first(self.embed(ids)))) * 2


class WithConstant(Net):
    def forward(self, ids):
        return super().forward(ids) + constant


class Product(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, ids):
        return ids.to(torch.float32) @ self.weight


constant = torch.randn(512)
net = Net().eval()
state = net.state_dict()
other, traced = Other().eval(), WithConstant().eval()
other.load_state_dict(state)
traced.load_state_dict(state)
outputs["net.pt"] = hashlib.sha256(raw(net(ids))).hexdigest()

save("net.pt", state, state)
save_safetensors("net.safetensors", state)
save_script("scripted.pt", torch.jit.script(net))
save_script("other.pt", torch.jit.script(other))
save_script("traced.pt", torch.jit.trace(traced, ids))

live = {name: tensor.clone() for name, tensor in state.items()}
live["first.weight"] += 1
optimizer = {"state": {0: {"exp_avg": torch.randn(64, 64)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
save("training.pt", {"epoch": 3, "model_state_dict": live, "ema": state, "optimizer": optimizer}, state)

base = torch.randn(48, 40)
views = {"rows": base[4:9], "columns": base[:, 3:17], "turned": base.t(), "every_third": base[::3], "cell": base[7, 5],
         "row": torch.randn(1, 6).expand(5, 6), "half": torch.randn(7, 3).half(), "empty": base[48:]}
save("views.pt", views, views)

# One weight, turned in memory and not.
weight = torch.randn(80, 24).t()
save_script("turned.pt", torch.jit.script(Product(weight)))
save_script("straight.pt", torch.jit.script(Product(weight.contiguous())))
save_safetensors("product.safetensors", {"weight": weight})
# Every row the same: one in the file, all of them in the other.
row = torch.randn(1, 80).expand(24, 80)
save_script("expanded.pt", torch.jit.script(Product(row)))
save_script("repeated.pt", torch.jit.script(Product(row.contiguous())))

with open(path("expected.json"), "w") as out:
    json.dump({"torch": torch.__version__, "outputs": outputs, "checkpoints": checkpoints}, out)
