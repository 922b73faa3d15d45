/* One attempt after the other, in plain C: for processors without anything better. */

#define LANES 1
#define SCAN scan_scalar
#define TARGET
#include "lanes.h"
