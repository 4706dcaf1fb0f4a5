/* Loads the SavedModel in argv[1] by its tag, runs serving_default on the seeds that follow, prints `sample` and `mean`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void must(TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

/* An operation's name from "name:index", as the signature gives it. */
static TF_Output output_named(TF_Graph* graph, char* name) {
  char* colon = strrchr(name, ':');
  TF_Output output = {NULL, colon ? atoi(colon + 1) : 0};
  if (colon) *colon = 0;
  output.oper = TF_GraphOperationByName(graph, name);
  if (!output.oper) {
    fprintf(stderr, "no operation %s\n", name);
    exit(1);
  }
  return output;
}

int main(int argc, char** argv) {
  /* argv: folder, tensor of seed, of sample, of mean, then pairs of integers. */
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  must(status, "load");

  TF_Output seed = output_named(graph, argv[2]);
  TF_Output outputs[] = {output_named(graph, argv[3]), output_named(graph, argv[4])};
  int64_t dims[] = {(argc - 5) / 2, 2};
  TF_Tensor* input = TF_AllocateTensor(TF_INT32, dims, 2, (size_t)(dims[0] * 2) * sizeof(int32_t));
  for (int i = 0; i < dims[0] * 2; ++i) ((int32_t*)TF_TensorData(input))[i] = (int32_t)atol(argv[5 + i]);
  TF_Tensor* results[2] = {NULL, NULL};
  TF_SessionRun(session, NULL, &seed, &input, 1, outputs, results, 2, NULL, 0, NULL, status);
  must(status, "run");
  for (int k = 0; k < 2; ++k) {
    size_t size = TF_TensorByteSize(results[k]) / sizeof(float);
    for (size_t i = 0; i < size; ++i) printf("%.9g\n", ((float*)TF_TensorData(results[k]))[i]);
    TF_DeleteTensor(results[k]);
  }
  TF_DeleteTensor(input);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
