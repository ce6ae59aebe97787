// The operations of scans as TensorFlow knows them.

#include "scan.h"

#include "call.h"

namespace nlp_rnn {
namespace {

struct ScanAttributes {
  int32_t kind;
  unsigned char reversed, keep;
};

template <bool is_forward>
void* create_scan(TF_OpKernelConstruction* construction) {
  auto* attributes = new ScanAttributes();
  TF_Status* status = TF_NewStatus();
  TF_OpKernelConstruction_GetAttrInt32(construction, "kind", &attributes->kind, status);
  TF_OpKernelConstruction_GetAttrBool(construction, "reversed", &attributes->reversed, status);
  if (is_forward) TF_OpKernelConstruction_GetAttrBool(construction, "keep", &attributes->keep, status);
  if (TF_GetCode(status) != TF_OK) TF_OpKernelConstruction_Failure(construction, status);
  TF_DeleteStatus(status);
  return attributes;
}

void destroy_scan(void* attributes) { delete static_cast<ScanAttributes*>(attributes); }

// Finds projected · skip · parameters · state · mask; false where they do not fit each other.
template <typename S, typename T>
bool find_scan(Call& call, const ScanAttributes& attributes, Scan<S, T>& scan) {
  const CellTraits cell = traits_of(attributes.kind);
  TF_Tensor *projected = call.input(0), *skip = call.input(1), *parameters = call.input(2), *state = call.input(3),
            *mask = call.input(4);
  if (call.failed()) return false;
  const bool masked = TF_TensorElementCount(mask) > 0 || TF_NumDims(mask) != 2;
  bool fits = TF_NumDims(projected) == 3 && TF_NumDims(state) == 2 && cell.gates > 0;
  if (fits) {
    scan.batch = TF_Dim(projected, 0);
    scan.time = TF_Dim(projected, 1);
    scan.units = TF_Dim(state, 1);
    fits = TF_Dim(state, 0) == scan.batch && TF_Dim(projected, 2) == cell.gates * scan.units &&
           (!cell.has_skip || TF_TensorElementCount(skip) == scan.batch * scan.time * scan.units) &&
           TF_TensorElementCount(parameters) == cell.parameters * scan.units &&
           (!masked || (TF_NumDims(mask) == 2 && TF_Dim(mask, 0) == scan.batch && TF_Dim(mask, 1) == scan.time));
  }
  if (!fits) {
    call.refuse("Scan: the shapes of its inputs do not fit each other.");
    return false;
  }
  scan.reversed = attributes.reversed;
  scan.projected = static_cast<S*>(TF_TensorData(projected));
  scan.skip = static_cast<S*>(TF_TensorData(skip));
  scan.parameters = static_cast<T*>(TF_TensorData(parameters));
  scan.state = static_cast<T*>(TF_TensorData(state));
  scan.mask = masked ? static_cast<bool*>(TF_TensorData(mask)) : nullptr;
  return true;
}

template <typename S, typename T>
void scan_forward(void* kernel, TF_OpKernelContext* context) {
  const auto& attributes = *static_cast<ScanAttributes*>(kernel);
  Call call(context);
  ScanForward<S, T> scan;
  if (!find_scan(call, attributes, scan)) return;
  const std::vector<int64_t> shape = {scan.batch, scan.time, scan.units}, row = {scan.batch, scan.units};
  const bool keeps = traits_of(attributes.kind).has_output && attributes.keep;
  scan.output = call.output<S>(0, shape);
  S* states = keeps ? call.output<S>(1, shape) : call.output<S>(1, {0, 0, 0});
  scan.states = keeps ? states : nullptr;
  scan.last_output = call.output<T>(2, row);
  scan.last_state = call.output<T>(3, row);
  if (call.failed()) return;
  dispatch_scan(attributes.kind, scan, threads);
}

template <typename S, typename T>
void scan_backward(void* kernel, TF_OpKernelContext* context) {
  const auto& attributes = *static_cast<ScanAttributes*>(kernel);
  Call call(context);
  ScanBackward<S, T> scan;
  if (!find_scan(call, attributes, scan)) return;
  const CellTraits cell = traits_of(attributes.kind);
  const std::vector<int64_t> row = {scan.batch, scan.units};
  scan.states = call.data<S>(5);
  scan.d_output = call.data<S>(6);
  scan.d_last_output = call.data<T>(7);
  scan.d_last_state = call.data<T>(8);
  scan.d_projected = call.output<S>(0, {scan.batch, scan.time, cell.gates * scan.units});
  scan.d_skip = call.output<S>(1, {scan.batch, scan.time, cell.has_skip ? scan.units : 0});
  scan.d_parameters = call.output<T>(2, {scan.batch, cell.parameters * scan.units});
  scan.d_state = call.output<T>(3, row);
  if (call.failed()) return;
  dispatch_scan(attributes.kind, scan, threads);
}

template <typename S, typename T>
void implement_scans(TF_DataType stored, TF_DataType computed) {
  implement("NlpRnnScanForward", {{"T", stored}, {"S", computed}}, &create_scan<true>, &destroy_scan,
            &scan_forward<S, T>);
  implement("NlpRnnScanBackward", {{"T", stored}, {"S", computed}}, &create_scan<false>, &destroy_scan,
            &scan_backward<S, T>);
}

void register_scans() {
  const std::vector<const char*> common = {"T: {float, double, bfloat16}", "S: {float, double}", "kind: int",
                                           "reversed: bool"};
  std::vector<const char*> with_keep = common;
  with_keep.push_back("keep: bool");
  std::vector<const char*> inputs = {"projected: T", "skip: T", "parameters: S", "state: S", "mask: bool"};
  define("NlpRnnScanForward", inputs, {"output: T", "states: T", "last_output: S", "last_state: S"}, with_keep);
  for (const char* more : {"states: T", "d_output: T", "d_last_output: S", "d_last_state: S"}) inputs.push_back(more);
  define("NlpRnnScanBackward", inputs, {"d_projected: T", "d_skip: T", "d_parameters: S", "d_state: S"}, common);
  implement_scans<float, float>(TF_FLOAT, TF_FLOAT);
  implement_scans<double, double>(TF_DOUBLE, TF_DOUBLE);
  implement_scans<bfloat16, float>(TF_BFLOAT16, TF_FLOAT);
}

const bool registered = (register_scans(), true);

}  // namespace
}  // namespace nlp_rnn
