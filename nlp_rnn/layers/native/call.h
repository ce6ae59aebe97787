// What an operation needs of TensorFlow's C interface, which stays the same from version to version: the tensors of a
// call, and its registration.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_status.h"
#include "tensorflow/c/tf_tensor.h"

namespace nlp_rnn {

// The tensors of one call, released at its end.
class Call {
 public:
  explicit Call(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {}
  ~Call() {
    for (TF_Tensor* tensor : tensors_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }
  Call(const Call&) = delete;

  TF_Tensor* input(int index) {
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, index, &tensor, status_);
    tensors_.push_back(tensor);
    return tensor;
  }

  template <typename T>
  T* data(int index) {
    return static_cast<T*>(TF_TensorData(input(index)));
  }

  template <typename T>
  T* output(int index, std::vector<int64_t> shape, int reused_input = -1) {
    long bytes = sizeof(T);
    for (int64_t size : shape) bytes *= size;
    TF_Tensor* tensor;
    if (reused_input >= 0) {
      int forwarded = 0;
      tensor = TF_ForwardInputOrAllocateOutput(context_, &reused_input, 1, index, shape.data(),
                                               static_cast<int>(shape.size()), &forwarded, status_);
    } else {
      tensor = TF_AllocateOutput(context_, index, TF_ExpectedOutputDataType(context_, index), shape.data(),
                                 static_cast<int>(shape.size()), bytes, status_);
    }
    if (TF_GetCode(status_) != TF_OK) return nullptr;
    tensors_.push_back(tensor);
    return static_cast<T*>(TF_TensorData(tensor));
  }

  bool failed() {
    if (TF_GetCode(status_) == TF_OK) return false;
    TF_OpKernelContext_Failure(context_, status_);
    return true;
  }

  void refuse(const char* message) {
    TF_SetStatus(status_, TF_INVALID_ARGUMENT, message);
    TF_OpKernelContext_Failure(context_, status_);
  }

 private:
  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> tensors_;
};

inline void unknown_shapes(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

inline void define(const char* name, const std::vector<const char*>& inputs, const std::vector<const char*>& outputs,
                   const std::vector<const char*>& attributes) {
  TF_OpDefinitionBuilder* builder = TF_NewOpDefinitionBuilder(name);
  for (const char* attribute : attributes) TF_OpDefinitionBuilderAddAttr(builder, attribute);
  for (const char* input : inputs) TF_OpDefinitionBuilderAddInput(builder, input);
  for (const char* output : outputs) TF_OpDefinitionBuilderAddOutput(builder, output);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, &unknown_shapes);
  TF_Status* status = TF_NewStatus();
  TF_RegisterOpDefinition(builder, status);
  TF_DeleteStatus(status);
}

inline void implement(const char* name, const std::vector<std::pair<const char*, TF_DataType>>& types,
                      void* (*create)(TF_OpKernelConstruction*), void (*destroy)(void*),
                      void (*compute)(void*, TF_OpKernelContext*)) {
  TF_KernelBuilder* builder = TF_NewKernelBuilder(name, "CPU", create, compute, destroy);
  TF_Status* status = TF_NewStatus();
  for (const auto& [attribute, type] : types) TF_KernelBuilder_TypeConstraint(builder, attribute, type, status);
  TF_RegisterKernelBuilder(name, builder, status);
  TF_DeleteStatus(status);
}

}  // namespace nlp_rnn
