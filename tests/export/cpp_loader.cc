// Loads the SavedModel in argv[1] with the loader that TF Serving calls, by its tag, runs serving_default on the seeds that
// follow, and prints `sample` and `mean`.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"

static void must(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  std::exit(1);
}

int main(int argc, char** argv) {
  tensorflow::SavedModelBundle bundle;
  must(tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &bundle), "load");
  const auto& signature = bundle.GetSignatures().at("serving_default");

  tensorflow::Tensor seed(tensorflow::DT_INT32, tensorflow::TensorShape({(argc - 2) / 2, 2}));
  for (int i = 0; i < seed.NumElements(); ++i) seed.flat<int32_t>()(i) = std::atoi(argv[2 + i]);
  std::vector<tensorflow::Tensor> outputs;
  must(bundle.GetSession()->Run({{signature.inputs().at("seed").name(), seed}},
                                {signature.outputs().at("sample").name(), signature.outputs().at("mean").name()}, {}, &outputs),
       "run");
  for (const auto& output : outputs) {
    const auto values = output.flat<float>();
    for (int64_t i = 0; i < values.size(); ++i) std::printf("%.9g\n", values(i));
  }
}
