#include "dlcm/nn/precision.h"

namespace dlcm {
namespace {

thread_local bool bfloat16_active = false;

}  // namespace

MatrixPrecision::MatrixPrecision(bool bfloat16) : previous_(bfloat16_active) { bfloat16_active = bfloat16; }
MatrixPrecision::~MatrixPrecision() { bfloat16_active = previous_; }
bool MatrixPrecision::is_bfloat16() { return bfloat16_active; }

ProductPrecision product_precision() {
  return bfloat16_active ? ProductPrecision::bfloat16 : ProductPrecision::as_given;
}

bool bfloat16_is_fast() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;  // every CPU with AMX has it too
#else
  return false;
#endif
}

}  // namespace dlcm
