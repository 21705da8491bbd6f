// A virtio disk, by whichever bus it is found.
#pragma once

#include "virtio.h"

struct disk {
  struct virtio_device device;
  struct virtio_queue queue;
  uint64_t sectors;
  // Where queue 0 is notified: 32 bits over MMIO, 16 bits over PCI (virtio 1.2, 4.1.5.2).
  volatile void *doorbell;
  bool is_pci;
};

// Finds the first virtio disk on PCI bus 0, by what virtio 1 says of itself in its capabilities, and makes its queue live.
// What has to be seen of it is mapped, for CPL3 too. False: there is none.
bool pci_begin(struct disk *disk, uint64_t wanted);
