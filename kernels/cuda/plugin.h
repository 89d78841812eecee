/* The contract between the program and its GPU plug-in (libpotluck_cuda.so), in plain C.
 *
 * The plug-in exports one symbol, potluck_cuda_plugin(), which returns a table that lives as long as the plug-in is
 * loaded. Of the table, only `abi_version` may be read before it was compared with POTLUCK_CUDA_ABI_VERSION; any change
 * of this file raises that number.
 *
 * Functions that can fail return 0 on success and another number on failure, and then last_error() is one sentence that
 * a user can act on; it belongs to the calling thread and holds until that thread's next call. Nothing throws.
 * Different runners may be used from different threads, one runner from one thread at a time. Bytes are a workload's
 * payloads.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POTLUCK_CUDA_ABI_VERSION 2u
#define POTLUCK_CUDA_PLUGIN_SYMBOL "potluck_cuda_plugin"

typedef struct PotluckCudaDevice {
  char name[256];
  char uuid[48]; /* "GPU-8c4a1d4e-...", as nvidia-smi shows it: the same for every process, a MIG instance's own. */
  uint64_t memory_bytes;
  int32_t compute_major;
  int32_t compute_minor;
  int32_t multiprocessors;
  int32_t code_sm; /* Architecture of the embedded machine code that fits, such as 75; 0: none fits. */
} PotluckCudaDevice;

/* How the caller steers an interval; called only from the thread that called run(). */
typedef struct PotluckCudaCallbacks {
  void* context;
  /* As RunControl::Claim. */
  uint64_t (*claim)(void* context, uint64_t begin, uint64_t wanted_end);
  /* A finished slice; the bytes are the plug-in's and hold during the call. */
  void (*slice)(void* context, uint64_t begin, uint64_t end, const char* payload, size_t size, double busy_seconds);
  /* Not 0 once the interval is to be given up; polled. */
  int (*cancelled)(void* context);
} PotluckCudaCallbacks;

typedef struct PotluckCudaRunner PotluckCudaRunner;

typedef struct PotluckCudaPlugin {
  uint32_t abi_version;
  /* Opens the driver and counts its devices; fails when there is no driver or no device. */
  int (*device_count)(int* count);
  int (*device)(int index, PotluckCudaDevice* out);
  /* A runner of a workload on a device; destroy() frees it. */
  int (*create)(const char* workload, int index, PotluckCudaRunner** out);
  void (*destroy)(PotluckCudaRunner* runner);
  int (*self_test)(PotluckCudaRunner* runner);
  int (*open)(PotluckCudaRunner* runner, const char* payload, size_t size);
  int (*run)(PotluckCudaRunner* runner, uint64_t begin, uint64_t end, double slice_seconds,
             const PotluckCudaCallbacks* callbacks);
  const char* (*last_error)(void);
} PotluckCudaPlugin;

const PotluckCudaPlugin* potluck_cuda_plugin(void);

#ifdef __cplusplus
}
#endif
