// Where the hypervisor says that extended regions are: each of the ways in which it does.
#pragma once

#include "unpopulated.h"

// All return how many there are, and set up to MAX_EXTENDED_REGIONS. Negative: it is not said in this way.
int regions_by_memory_op(struct gfn_range *regions);
int regions_by_cpuid(struct gfn_range *regions);
int regions_by_memory_map(struct gfn_range *regions);
int regions_by_device_tree(struct gfn_range *regions);
