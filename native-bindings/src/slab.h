// Pins on slab mappings. Who hands slab memory to the kernel pins the slab until the transfer is over, so that a
// slab closed meanwhile stays mapped for as long.
#ifndef TARTAN_SLAB_H
#define TARTAN_SLAB_H

#include <stddef.h>

typedef struct tartan_slab tartan_slab;

// The slab that holds the address, pinned; NULL when none does, and then there is nothing to unpin.
tartan_slab *tartan_slab_pin(const void *address);
void tartan_slab_unpin(tartan_slab *slab);

#endif
