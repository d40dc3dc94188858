// How jemalloc keeps memory. Every step of a training, every request frees and asks again for the same large tensors:
// given back to the system each time, their pages would be cleared again each time, and small pages cost a fault each.
extern "C" {

// Large pages; freed memory is kept, large blocks like small ones.
extern const char* malloc_conf;
const char* malloc_conf = "thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0";

}  // extern "C"
