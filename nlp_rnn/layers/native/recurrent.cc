// The operations of recurrences and chains as TensorFlow knows them.

#include "backward.h"
#include "call.h"
#include "chain.h"
#include "forward.h"

namespace nlp_rnn {
namespace {

enum CellKind { kTanh = 0, kRelu = 1, kGru = 2, kLstm = 3 };

struct Attributes {
  int32_t directions, kind, reversed;
  unsigned char hold, keep;
};

template <bool is_forward>
void* create(TF_OpKernelConstruction* construction) {
  auto* attributes = new Attributes();
  TF_Status* status = TF_NewStatus();
  TF_OpKernelConstruction_GetAttrInt32(construction, "directions", &attributes->directions, status);
  TF_OpKernelConstruction_GetAttrInt32(construction, "kind", &attributes->kind, status);
  TF_OpKernelConstruction_GetAttrInt32(construction, "reversed", &attributes->reversed, status);
  TF_OpKernelConstruction_GetAttrBool(construction, "hold", &attributes->hold, status);
  if (is_forward) TF_OpKernelConstruction_GetAttrBool(construction, "keep", &attributes->keep, status);
  if (TF_GetCode(status) != TF_OK) TF_OpKernelConstruction_Failure(construction, status);
  TF_DeleteStatus(status);
  return attributes;
}

void destroy(void* kernel) { delete static_cast<Attributes*>(kernel); }

int gates_of(int kind) { return kind == kLstm ? 4 : kind == kGru ? 3 : 1; }

template <template <typename, typename, typename, bool> class Loop, typename S, typename T, bool Tiled,
          typename Arguments>
void dispatch_cell(int kind, const Arguments& arguments) {
  if (kind == kTanh) Loop<SimpleCell<Tanh>, S, T, Tiled>(arguments, threads).run();
  if (kind == kRelu) Loop<SimpleCell<Relu>, S, T, Tiled>(arguments, threads).run();
  if (kind == kGru) Loop<GruCell, S, T, Tiled>(arguments, threads).run();
  if (kind == kLstm) Loop<LstmCell, S, T, Tiled>(arguments, threads).run();
}

template <template <typename, typename, typename, bool> class Loop, typename S, typename T, typename Arguments>
void dispatch(int kind, const Arguments& arguments) {
  if constexpr (kHasTiles && std::is_same_v<S, bfloat16>)
    if (bfloat16_pays()) return dispatch_cell<Loop, S, T, true>(kind, arguments);
  dispatch_cell<Loop, S, T, false>(kind, arguments);
}

// [batch, time, gates · units] and the rest follows; false where the tensors do not fit each other.
bool measure(TF_Tensor* projected, TF_Tensor* kernel, TF_Tensor* state, TF_Tensor* mask, const Attributes& attributes,
             Sizes& sizes) {
  const int gates = gates_of(attributes.kind);
  if (TF_NumDims(projected) != 3 || TF_NumDims(kernel) != 2 || TF_NumDims(state) != 2 || TF_NumDims(mask) != 2)
    return false;
  sizes.batch = TF_Dim(projected, 0);
  sizes.time = TF_Dim(projected, 1);
  sizes.units = TF_Dim(kernel, 0);
  sizes.directions = attributes.directions;
  sizes.hold = attributes.hold;
  const bool masked = TF_TensorElementCount(mask) > 0;
  return sizes.directions <= 2 && TF_Dim(projected, 2) == gates * sizes.units &&
         TF_Dim(kernel, 1) == gates * sizes.units && TF_Dim(state, 0) == sizes.batch &&
         TF_Dim(state, 1) == sizes.directions * sizes.units &&
         (!masked || (TF_Dim(mask, 0) == sizes.batch && TF_Dim(mask, 1) == sizes.time));
}

template <typename S, typename T>
void forward(void* kernel, TF_OpKernelContext* context) {
  const auto& attributes = *static_cast<Attributes*>(kernel);
  Call call(context);
  const int D = attributes.directions, gates = gates_of(attributes.kind);
  const bool has_cell = attributes.kind == kLstm, keeps_gates = attributes.kind >= kGru && attributes.keep,
             keeps_cells = keeps_gates;
  const int state_at = 3 * D, mask_at = 3 * D + 2;
  Forward<S, T> a;
  {
    Call look(context);
    TF_Tensor *projected = look.input(0), *weights = look.input(D), *state = look.input(state_at),
              *mask = look.input(mask_at);
    if (look.failed()) return;
    if (!measure(projected, weights, state, mask, attributes, a))
      return call.refuse("RecurrentForward: the shapes of its inputs do not fit each other.");
  }
  const long wide = D * a.units;
  for (int d = 0; d < D; ++d) {
    a.gates[d] = keeps_gates ? call.output<S>(3 + d, {a.batch, a.time, gates * a.units}, d)
                             : (call.output<S>(3 + d, {0}), nullptr);
    S* cells = keeps_cells ? call.output<S>(3 + D + d, {a.batch, a.time, a.units}) : call.output<S>(3 + D + d, {0});
    a.cells[d] = keeps_cells ? cells : nullptr;
    a.projected[d] = call.data<S>(d);
    a.kernel[d] = call.data<S>(D + d);
    a.bias[d] = call.data<S>(2 * D + d);
    a.reversed[d] = attributes.reversed >> d & 1;
  }
  a.state = call.data<T>(state_at);
  a.cell = call.data<T>(state_at + 1);
  TF_Tensor* mask = call.input(mask_at);
  a.mask = TF_TensorElementCount(mask) ? static_cast<bool*>(TF_TensorData(mask)) : nullptr;
  a.output = call.output<S>(0, {a.batch, a.time, wide});
  a.last_state = call.output<T>(1, {a.batch, wide});
  a.last_cell = has_cell ? call.output<T>(2, {a.batch, wide}) : call.output<T>(2, {0, 0});
  if (call.failed()) return;
  dispatch<ForwardLoop, S, T>(attributes.kind, a);
}

template <typename S, typename T>
void backward(void* kernel, TF_OpKernelContext* context) {
  const auto& attributes = *static_cast<Attributes*>(kernel);
  Call call(context);
  const int D = attributes.directions, gates = gates_of(attributes.kind);
  const bool has_cell = attributes.kind == kLstm, has_product = attributes.kind == kGru,
             keeps_gates = attributes.kind >= kGru;
  // kernels D · state · cell · mask · output · gates D · cells D · d_output · d_last_state · d_last_cell
  const int state_at = D, mask_at = D + 2, output_at = D + 3, gates_at = D + 4, cells_at = 2 * D + 4,
            d_output_at = 3 * D + 4;
  Backward<S, T> a;
  {
    Call look(context);
    TF_Tensor *weights = look.input(0), *output = look.input(output_at);
    if (look.failed()) return;
    if (TF_NumDims(weights) != 2 || TF_NumDims(output) != 3)
      return call.refuse("RecurrentBackward: the shapes of its inputs do not fit each other.");
    a.batch = TF_Dim(output, 0);
    a.time = TF_Dim(output, 1);
    a.units = TF_Dim(weights, 0);
    a.directions = D;
    a.hold = attributes.hold;
  }
  for (int d = 0; d < D; ++d) {
    a.d_projected[d] = call.output<S>(d, {a.batch, a.time, gates * a.units}, keeps_gates ? gates_at + d : -1);
    a.before[d] = call.output<S>(D + 2 + d, {a.batch, a.time, a.units});
    S* d_product = has_product ? call.output<S>(2 * D + 2 + d, {a.batch, a.time, a.units}, cells_at + d)
                               : call.output<S>(2 * D + 2 + d, {0});
    a.d_product[d] = d_product;
    a.kernel[d] = call.data<S>(d);
    a.gates[d] = call.data<S>(gates_at + d);
    a.cells[d] = call.data<S>(cells_at + d);
    a.reversed[d] = attributes.reversed >> d & 1;
  }
  a.state = call.data<T>(state_at);
  a.cell = call.data<T>(state_at + 1);
  TF_Tensor* mask = call.input(mask_at);
  a.mask = TF_TensorElementCount(mask) ? static_cast<bool*>(TF_TensorData(mask)) : nullptr;
  a.output = call.data<S>(output_at);
  a.d_output = call.data<S>(d_output_at);
  a.d_last_state = call.data<T>(d_output_at + 1);
  a.d_last_cell = call.data<T>(d_output_at + 2);
  a.d_state = call.output<T>(D, {a.batch, D * a.units});
  a.d_cell = has_cell ? call.output<T>(D + 1, {a.batch, D * a.units}) : call.output<T>(D + 1, {0, 0});
  if (call.failed()) return;
  dispatch<BackwardLoop, S, T>(attributes.kind, a);
}

template <typename T>
void chain(void*, TF_OpKernelContext* context) {
  Call call(context);
  Chain<T> c;
  TF_Tensor* scores = call.input(0);
  if (call.failed()) return;
  if (TF_NumDims(scores) != 4 || TF_Dim(scores, 2) != TF_Dim(scores, 3) || TF_Dim(scores, 2) == 0)
    return call.refuse("Chain: the scores must have the shape [batch, time, tags, tags].");
  c.batch = TF_Dim(scores, 0);
  c.time = TF_Dim(scores, 1);
  c.tags = TF_Dim(scores, 2);
  c.scores = static_cast<T*>(TF_TensorData(scores));
  c.total = call.output<T>(0, {c.batch});
  c.pairs = call.output<T>(1, {c.batch, c.time, c.tags, c.tags});
  if (call.failed()) return;
  chain_sums(c, threads);
}

struct Registration {
  Registration() {
    const std::vector<const char*> common = {"T: {float, double, bfloat16}",
                                             "S: {float, double}",
                                             "directions: int >= 1",
                                             "kind: int",
                                             "reversed: int",
                                             "hold: bool"};
    std::vector<const char*> with_keep = common;
    with_keep.push_back("keep: bool");
    define("NlpRnnRecurrentForward",
           {"projected: directions * T", "kernels: directions * T", "biases: directions * T", "state: S", "cell: S",
            "mask: bool"},
           {"output: T", "last_state: S", "last_cell: S", "gates: directions * T", "cells: directions * T"}, with_keep);
    define("NlpRnnRecurrentBackward",
           {"kernels: directions * T", "state: S", "cell: S", "mask: bool", "output: T", "gates: directions * T",
            "cells: directions * T", "d_output: T", "d_last_state: S", "d_last_cell: S"},
           {"d_projected: directions * T", "d_state: S", "d_cell: S", "before: directions * T",
            "d_products: directions * T"},
           common);
    define("NlpRnnChain", {"scores: T"}, {"total: T", "pairs: T"}, {"T: {float, double}"});
    implement("NlpRnnChain", {{"T", TF_FLOAT}}, nullptr, nullptr, &chain<float>);
    implement("NlpRnnChain", {{"T", TF_DOUBLE}}, nullptr, nullptr, &chain<double>);
    implement("NlpRnnRecurrentForward", {{"T", TF_FLOAT}, {"S", TF_FLOAT}}, &create<true>, &destroy,
              &forward<float, float>);
    implement("NlpRnnRecurrentForward", {{"T", TF_DOUBLE}, {"S", TF_DOUBLE}}, &create<true>, &destroy,
              &forward<double, double>);
    implement("NlpRnnRecurrentForward", {{"T", TF_BFLOAT16}, {"S", TF_FLOAT}}, &create<true>, &destroy,
              &forward<bfloat16, float>);
    implement("NlpRnnRecurrentBackward", {{"T", TF_FLOAT}, {"S", TF_FLOAT}}, &create<false>, &destroy,
              &backward<float, float>);
    implement("NlpRnnRecurrentBackward", {{"T", TF_DOUBLE}, {"S", TF_DOUBLE}}, &create<false>, &destroy,
              &backward<double, double>);
    implement("NlpRnnRecurrentBackward", {{"T", TF_BFLOAT16}, {"S", TF_FLOAT}}, &create<false>, &destroy,
              &backward<bfloat16, float>);
  }
} registration;

}  // namespace
}  // namespace nlp_rnn

extern "C" void nlp_rnn_set_threads(int count) { nlp_rnn::threads = count < 1 ? 1 : count; }
