"""Checkpoints as PyTorch writes them, and what PyTorch itself reads from them.

usage: torch_files.py FOLDER

Writes FOLDER/NAME.pt for each case, FOLDER/NAME.raw with the bytes of its tensors one after another, and
FOLDER/cases.json: for each case what modeld shall find, or what it shall say.
"""

import collections
import ctypes
import io
import json
import os
import sys

import torch

folder = sys.argv[1]
version = tuple(int(part) for part in torch.__version__.split(".")[:2])
cases = []
generator = torch.Generator().manual_seed(7)

DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16", "bfloat16": "BF16",
    "int32": "I32", "uint32": "U32", "float32": "F32", "int64": "I64", "uint64": "U64", "float64": "F64",
    "complex32": "C32", "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float4_e2m1fn_x2": "F4",
}
def can_be_saved(dtype):
    try:
        torch.save(torch.empty(2, dtype=dtype), io.BytesIO())
    except (KeyError, RuntimeError):  # complex32 in 1.13
        return False
    return True


dtypes = {name: getattr(torch, name) for name in DTYPES if hasattr(torch, name)}
dtypes = {name: dtype for name, dtype in dtypes.items() if can_be_saved(dtype)}
names = {dtype: DTYPES[name] for name, dtype in dtypes.items()}


def noise(shape, dtype=torch.float32):
    """Any bits."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, dtype=torch.uint8, generator=generator).bool()
    count = 1
    for size in shape:
        count *= size
    each = torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(0, 256, (max(count, 1) * each,), dtype=torch.uint8, generator=generator)
    # 1.13 has no view of uint8 as float16 or less wide complex: its bytes are copied in.
    tensor = torch.empty(max(count, 1), dtype=dtype)
    ctypes.memmove(tensor.data_ptr(), raw.data_ptr(), raw.numel())
    return tensor[:count].reshape(shape)


def raw_bytes(tensor):
    tensor = tensor.detach()
    if tensor.numel() == 0:
        return b""
    if not tensor.is_contiguous():
        copy = torch.empty(tensor.shape, dtype=tensor.dtype)
        if names[tensor.dtype] == "C32":  # no copy kernel in some versions
            raise SystemExit("a strided complex32 is not for this test")
        copy.copy_(tensor)
        tensor = copy
    return ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size())


def expect(name, tensors, script=False, prefix="", files=()):
    with open(os.path.join(folder, name + ".raw"), "wb") as out:
        entries = []
        for key, tensor in tensors.items():
            raw = raw_bytes(tensor)
            shape = list(tensor.shape)
            if names[tensor.dtype] == "F4":
                shape[-1] *= 2
            entries.append({"name": key, "dtype": names[tensor.dtype], "shape": shape, "at": out.tell(), "bytes": len(raw)})
            out.write(raw)
    cases.append({"name": name, "format": "torchscript" if script else "torch", "prefix": prefix, "tensors": entries,
                  "files": list(files)})


def load(path):
    # Modules and the like must be unpickled in full.
    return torch.load(path, "cpu", weights_only=False) if version >= (1, 13) else torch.load(path, "cpu")


def save(name, value, **how):
    path = os.path.join(folder, name + ".pt")
    torch.save(value, path, **how)
    return path


def case(name, value, pick=lambda loaded: loaded, prefix="", **how):
    """`pick` says which tensors are meant, and what they are called."""
    expect(name, pick(load(save(name, value, **how))), prefix=prefix)


def refuse(name, value, words, **how):
    save(name, value, **how)
    cases.append({"name": name, "refused": words, "prefix": ""})


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(8, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.last = torch.nn.Linear(4, 8, bias=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


net = Net().eval()
case("dtypes", {name: noise((3, 4), dtype) for name, dtype in dtypes.items()})
case("dtypes_of_parameters", {name: torch.nn.Parameter(noise((5,), dtype), requires_grad=False)
                              for name, dtype in dtypes.items()})
case("state_dict", net.state_dict())
case("ordered_dict", collections.OrderedDict(b=noise((2,)), a=noise((3,))))
case("parameter", {"p": torch.nn.Parameter(noise((2, 3)))})
tied = noise((6, 4))
case("tied", {"embed": tied, "head": tied, "half": tied[:3], "other": noise((2,))})
base = noise((10, 12))
case("views", {"rows": base[2:5], "columns": base[:, 3:7], "turned": base.t(), "sparse_rows": base[::3],
               "last": base[9, 11:], "scalar": base[4, 5]})
case("expanded", {"row": noise((1, 5)).expand(4, 5), "one": noise((1,)).expand(3, 3)})
case("empty", {"none": torch.zeros(0), "wide": torch.zeros(3, 0, 5), "scalar": noise(()), "tail": base[10:]})
case("channels_last", {"w": noise((2, 3, 4, 5)).to(memory_format=torch.channels_last)})
case("bare_tensor", noise((3, 3)), lambda loaded: {"0": loaded})
case("bare_list", [noise((2,)), noise((3,), torch.int64)], lambda loaded: {str(i): t for i, t in enumerate(loaded)})
case("int_keys", {0: noise((2,)), 1: noise((3,))}, lambda loaded: {str(i): t for i, t in loaded.items()})
for protocol in (3, 4, 5):
    case(f"protocol_{protocol}", {"state_dict": net.state_dict(), "epoch": 3, "big": 2**80, "set": {1, 2}},
         lambda loaded: loaded["state_dict"], pickle_protocol=protocol)
optimizer = torch.optim.Adam(net.parameters())
net.train()
net(noise((4, 8)).nan_to_num(0, 0, 0).clamp(-1, 1)).sum().backward()
optimizer.step()
net.eval()
trainer = {"epoch": 12, "lr": 0.5, "arch": "net", "best": True, "size": torch.Size([1, 2]), "dtype": torch.float16,
           "device": torch.device("cpu"), "model_state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}
case("training_checkpoint", trainer, lambda loaded: loaded["model_state_dict"])
case("chosen_by_prefix", {"model": {"w": noise((2,))}, "ema": {"w": noise((2,)), "deep": {"v": noise((3,))}}},
     lambda loaded: {"w": loaded["ema"]["w"], "deep.v": loaded["ema"]["deep"]["v"]}, prefix="ema.")
case("prefix_within", {"state_dict": {"net.w": noise((2,)), "loss.w": noise((3,))}},
     lambda loaded: {"w": loaded["state_dict"]["net.w"]}, prefix="net.")
case("nested", {"encoder": {"a": noise((2,)), "list": [noise((1,)), noise((1,))]}, "decoder": {"a": noise((3,))}},
     lambda loaded: {"encoder.a": loaded["encoder"]["a"], "encoder.list.0": loaded["encoder"]["list"][0],
                     "encoder.list.1": loaded["encoder"]["list"][1], "decoder.a": loaded["decoder"]["a"]})
case("top_level_first", {"w": noise((2,)), "model": {"x": noise((3,))}}, lambda loaded: {"w": loaded["w"]})
with_attributes = torch.nn.Parameter(noise((4,)))
with_attributes.note = "kept by PyTorch, no weight"
case("parameter_with_attributes", {"p": with_attributes})
case("nothing", {})
many = {f"model.layers.{i}.weight": tensor for i, tensor in enumerate(noise((100_000, 4)).unbind())}
case("shared_storage_of_100000", many)
case("storages_of_100000", {key: tensor.clone() for key, tensor in many.items()})

refuse("whole_module", torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear")
refuse("legacy", {"w": noise((2,))}, "before 1.6", _use_new_zipfile_serialization=False)
refuse("quantized", {"q": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}, "quantized")
refuse("sparse", {"s": torch.eye(3).to_sparse()}, "sparse")
refuse("sparse_rows", {"s": torch.eye(3).to_sparse_csr()}, "sparse")
refuse("several", {"model": {"w": noise((2,))}, "ema": {"w": noise((2,))}}, "model., ema.")
refuse("meta", {"m": torch.empty(3, device="meta")}, "meta")
refuse("lone_storage", {"s": noise((3,)).storage()}, "a storage by itself")
if version >= (2, 0):
    refuse("conjugated", {"c": noise((3,), torch.complex64).conj()}, "conj")
    refuse("negated", {"c": noise((3,), torch.complex64).conj().imag}, "neg")


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 3)
        self.tied = self.inner.weight
        self.register_buffer("table", noise((4,), torch.int64))
        self.attribute = noise((2, 2))
        self.listed = [noise((1,)), noise((2,))]
        self.named = {"x": noise((3,)), "y": noise((1,))}
        self.pair = (noise((2,)), 5)
        self.steps = 3

    def forward(self, x):
        return (self.inner(x) + self.table[0] + self.attribute[0, 0] + self.listed[0] + self.named["x"] + self.pair[0][0]
                + self.tied[0])


def script(name, module, extra_names, constants=()):
    path = os.path.join(folder, name + ".pt")
    torch.jit.save(module, path, _extra_files={"note.txt": "hello"})
    loaded = torch.jit.load(path, "cpu")
    tensors = collections.OrderedDict()
    for key, value in list(loaded.named_parameters(remove_duplicate=False) if version >= (2, 0)
                           else loaded.named_parameters()):
        tensors[key] = value
    for key, value in loaded.named_buffers():
        tensors[key] = value
    for key, get in extra_names.items():
        tensors[key] = get(loaded)
    for index, constant in enumerate(constants):
        tensors[f"constants.{index}"] = constant
    expect(name, tensors, script=True, files=["code/__torch__.py", "constants.pkl", "data.pkl", "extra/note.txt", "version"])


script("scripted", torch.jit.script(Scripted()), {
    "tied": lambda m: m.tied, "inner.weight": lambda m: m.inner.weight, "attribute": lambda m: m.attribute, "listed.0": lambda m: m.listed[0],
    "listed.1": lambda m: m.listed[1], "named.x": lambda m: m.named["x"], "named.y": lambda m: m.named["y"],
    "pair.0": lambda m: m.pair[0]})
constant = noise((3,)).nan_to_num(0, 0, 0)


class Traced(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x) + constant


script("traced", torch.jit.trace(Traced(), torch.ones(1, 3)), {}, [constant])

with open(os.path.join(folder, "cases.json"), "w") as out:
    json.dump({"torch": torch.__version__, "cases": cases}, out)
