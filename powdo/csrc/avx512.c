/* Sixteen attempts side by side, where AVX-512 is faster than SHA-NI. */

#include "miner.h"

#ifdef POWDO_X86

#define LANES 16
#define SCAN scan_avx512
#define TARGET __attribute__((target("avx512f")))
#include "lanes.h"

#endif
