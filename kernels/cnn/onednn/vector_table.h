// The table of functions of the instruction set that the including file is compiled for.
#pragma once

#include "kernels/cnn/onednn/vector_dense_impl.h"
#include "kernels/cnn/onednn/vector_values_impl.h"
#include "kernels/cnn/onednn/vector_winograd_impl.h"

namespace potluck::cnn {
namespace {

constexpr VectorKernels Table(const char* name) {
  VectorKernels table;
  table.lanes = kLanes;
  table.name = name;
  table.winograd_scratch = ScratchFloats;
  table.winograd_weights = WinogradWeights;
  table.winograd_weights_gradient = WinogradWeightsGradient;
  table.winograd_forward = WinogradForward;
  table.winograd_backward = WinogradBackward;
  table.dense = {DenseScratch, DenseForward, DenseWeightsGradient, DenseInputGradient};
  table.turn_block = TurnBlock;
  table.relu_backward = ReluBackward;
  table.dropout_mask = DropoutMask;
  table.apply_mask = ApplyMask;
  table.max_pool = MaxPool;
  table.max_pool_backward = MaxPoolBackward;
  return table;
}

}  // namespace
}  // namespace potluck::cnn
