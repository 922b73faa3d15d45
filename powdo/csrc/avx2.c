/* Eight attempts side by side, for processors with AVX2 and without SHA-NI. */

#include "miner.h"

#ifdef POWDO_X86

#define LANES 8
#define SCAN scan_avx2
#define TARGET __attribute__((target("avx2")))
#include "lanes.h"

#endif
