// guests/unpopulated as it is compiled without unpopulated pages: RAM goes where frames of others are mapped.
#define UNPOPULATED_BALLOON

#include "../unpopulated/unpopulated.c"

#include "../unpopulated/regions.c"

#include "../unpopulated/main.c"
