// A worker in LibTorch: sentence embeddings of all-MiniLM-L6-v2, computed on weights that every
// other worker on this machine maps too. To use modeld in a program of your own, copy this file.

#include <modeld/client.h>
#include <modeld/torch.h>
#include <torch/torch.h>

#include <iostream>
#include <string>

#include "support.h"

namespace {

namespace F = torch::nn::functional;

// BertModel with 6 layers, 12 heads and a hidden size of 384. Holds no weights: each one is a view
// of the resident memory, and `model_` is the lease on it.
class Encoder {
 public:
  explicit Encoder(std::shared_ptr<const modeld::Model> model) : model_(std::move(model)) {}

  // `ids` and `mask` are [sentences, tokens]; the result is [sentences, 384], each row of length 1.
  at::Tensor Embed(const at::Tensor& ids, const at::Tensor& mask) const {
    at::Tensor x = torch::embedding(Weight("embeddings.word_embeddings.weight"), ids) +
                   Weight("embeddings.position_embeddings.weight").slice(0, 0, ids.size(1)) +
                   Weight("embeddings.token_type_embeddings.weight")[0];
    x = Norm("embeddings.LayerNorm", x);
    for (int i = 0; i < 6; ++i) {
      x = Layer("encoder.layer." + std::to_string(i) + ".", x, mask);
    }
    const at::Tensor weight = mask.unsqueeze(-1).to(torch::kFloat);
    return F::normalize((x * weight).sum(1) / weight.sum(1), F::NormalizeFuncOptions().dim(1));
  }

 private:
  at::Tensor Weight(const std::string& name) const { return modeld::AsTensor(model_, name); }

  at::Tensor Linear(const std::string& name, const at::Tensor& x) const {
    return torch::linear(x, Weight(name + ".weight"), Weight(name + ".bias"));
  }

  at::Tensor Norm(const std::string& name, const at::Tensor& x) const {
    return torch::layer_norm(x, {384}, Weight(name + ".weight"), Weight(name + ".bias"), 1e-12);
  }

  at::Tensor Layer(const std::string& name, const at::Tensor& x, const at::Tensor& mask) const {
    const auto heads = [](const at::Tensor& t) {
      return t.view({t.size(0), t.size(1), 12, 32}).transpose(1, 2);
    };
    const at::Tensor query = heads(Linear(name + "attention.self.query", x));
    const at::Tensor key = heads(Linear(name + "attention.self.key", x));
    const at::Tensor value = heads(Linear(name + "attention.self.value", x));
    const at::Tensor scores = torch::matmul(query, key.transpose(2, 3)) / std::sqrt(32.0);
    const at::Tensor hidden = mask.logical_not().view({mask.size(0), 1, 1, mask.size(1)});
    const at::Tensor attention = torch::softmax(scores.masked_fill(hidden, -1e9), -1);
    const at::Tensor mixed = torch::matmul(attention, value).transpose(1, 2).reshape(x.sizes());

    const at::Tensor attended = Norm(name + "attention.output.LayerNorm",
                                     Linear(name + "attention.output.dense", mixed) + x);
    const at::Tensor wide = torch::gelu(Linear(name + "intermediate.dense", attended));
    return Norm(name + "output.LayerNorm", Linear(name + "output.dense", wide) + attended);
  }

  std::shared_ptr<const modeld::Model> model_;
};

// Three sentences as token ids of the model's vocabulary, between [CLS] = 101 and [SEP] = 102,
// padded with 0.
constexpr std::int64_t kSentences[3][9] = {
    {101, 1996, 4633, 2003, 8403, 2651, 1012, 102},        // The weather is lovely today.
    {101, 2009, 1005, 1055, 2061, 11559, 2648, 999, 102},  // It's so sunny outside!
    {101, 2002, 5225, 2000, 1996, 3346, 1012, 102},        // He drove to the stadium.
};

}  // namespace

int main(int argc, char** argv) {
  const example::Arguments arguments = example::ParseArguments(
      argc, argv, "Prints a checksum of the embeddings of three sentences by all-MiniLM-L6-v2.");
  try {
    at::set_num_threads(1);
    const at::InferenceMode inference;

    const std::shared_ptr<const modeld::Model> model =
        arguments.private_copy
            ? example::ReadPrivateCopy(arguments.checkpoint)
            : modeld::Client::Connect()->Acquire({.reference = arguments.checkpoint});

    const at::Tensor ids = torch::tensor(at::ArrayRef(&kSentences[0][0], 27)).view({3, 9});
    const at::Tensor embeddings = Encoder(model).Embed(ids, ids.ne(0)).contiguous();

    example::Sha256 digest;
    digest.Add(embeddings.data_ptr(), embeddings.nbytes());
    const at::Tensor cosine = embeddings.matmul(embeddings.t());
    std::cout << digest.Finish() << "  similarities " << cosine[0][1].item<float>() << " "
              << cosine[0][2].item<float>() << " " << cosine[1][2].item<float>() << std::endl;

    if (arguments.hold) {
      example::WaitForEndOfInput();
    }
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << "\n";
    return 1;
  }
}
