// A guest in C's hands: a VM as Xenolith makes its own, and in it what Xenolith's loader has planned.
//
// BOOT_FILE: for each segment its address and its size, 64 bits each, and its bytes. The guest is entered in flat 32-bit
// mode.
#pragma once

#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { CPUID_ENTRIES = 256 };

static int vcpu;
static struct kvm_run *run;

static void require(int result, const char *what) {
  if (result < 0) err(1, "%s", what);
}

static uint8_t *load(const char *file, uint64_t memory_bytes) {
  uint8_t *memory = mmap(0, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) err(1, "mmap of guest memory");
  FILE *input = fopen(file, "rb");
  if (!input) err(1, "%s", file);
  uint64_t segment[2];
  while (fread(segment, sizeof segment, 1, input) == 1) {
    if (segment[0] > memory_bytes || segment[1] > memory_bytes - segment[0]) errx(1, "a segment lies outside of memory");
    if (fread(memory + segment[0], 1, segment[1], input) != segment[1]) errx(1, "%s is cut off", file);
  }
  fclose(input);
  return memory;
}

static int create_vm(int kvm, uint8_t *memory, uint64_t memory_bytes) {
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  require(vm, "KVM_CREATE_VM");
  uint64_t identity_map = 0xfffbc000;
  require(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
  require(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map), "KVM_SET_IDENTITY_MAP_ADDR");
  require(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
  struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
  require(ioctl(vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
  struct kvm_userspace_memory_region region = {.memory_size = memory_bytes, .userspace_addr = (uintptr_t)memory};
  require(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  return vm;
}

static void create_vcpu(int kvm, int vm) {
  vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  require(vcpu, "KVM_CREATE_VCPU");
  struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + CPUID_ENTRIES * sizeof cpuid->entries[0]);
  cpuid->nent = CPUID_ENTRIES;
  require(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
  require(ioctl(vcpu, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
  free(cpuid);
  int bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  run = mmap(0, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (run == MAP_FAILED) err(1, "mmap of the run page");
}

static void set_entry(uint64_t rip, uint64_t rbx) {
  struct kvm_segment code = {
    .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
  struct kvm_segment data = code, task = {.limit = 0x67, .type = 11, .present = 1};
  data.selector = 16;
  data.type = 3;
  struct kvm_sregs special;
  require(ioctl(vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
  special.cs = code;
  special.ds = special.es = special.fs = special.gs = special.ss = data;
  special.tr = task;
  special.cr0 = 0x11;  // PE, ET
  require(ioctl(vcpu, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
  struct kvm_regs registers = {.rip = rip, .rbx = rbx, .rflags = 2};
  require(ioctl(vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
}

// The guest prints before it begins: reads give ones, in which its UART is always ready.
static void boot(uint16_t port) {
  do {
    require(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
    if (run->exit_reason != KVM_EXIT_IO) errx(1, "exit reason %u", run->exit_reason);
    if (run->io.direction == KVM_EXIT_IO_IN) memset((uint8_t *)run + run->io.data_offset, 0xff, run->io.size);
  } while (run->io.port != port);
}

// Makes the VM, with its memory in slot 0, and its vCPU, and runs the guest until it touches `port`. Returns the VM.
static inline int boot_guest(char **arguments, uint16_t port) {
  uint64_t memory_bytes = strtoull(arguments[1], 0, 0);
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  require(kvm, "/dev/kvm");
  int vm = create_vm(kvm, load(arguments[0], memory_bytes), memory_bytes);
  create_vcpu(kvm, vm);
  set_entry(strtoull(arguments[2], 0, 0), strtoull(arguments[3], 0, 0));
  boot(port);
  return vm;
}
