/* struct livepatch_func, as Xen's public sysctl.h has it (version 2), and what puts one of them into its section. */

typedef unsigned char uint8_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
struct livepatch_expectation { uint8_t enabled : 1, len : 5, rsv : 2; uint8_t data[31]; };
struct livepatch_func {
  const char *name;
  void *new_addr;
  void *old_addr;
  uint32_t new_size;
  uint32_t old_size;
  uint8_t version;
  uint8_t opaque[31];
  uint8_t applied;
  uint8_t pad[7];
  struct livepatch_expectation expect;
};
_Static_assert(sizeof(struct livepatch_func) == 104, "as Xen has it");
#define REPLACE(id, function, size, ...) \
  static struct livepatch_func __attribute__((section(".livepatch.funcs"), aligned(8), used)) livepatch_##id = \
    { .name = function, .old_size = size, .version = 2, __VA_ARGS__ }
