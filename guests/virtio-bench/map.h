// What CPL3 is to see beside this image.
#pragma once

#include <stdint.h>

// To be called once. Fails if it cannot be.
uint8_t *map_for_all(uint64_t address, uint64_t size);
