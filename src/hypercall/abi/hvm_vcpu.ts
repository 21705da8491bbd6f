/** How an HVM guest describes a vCPU to VCPUOP_initialise (xen/hvm/hvm_vcpu.h). */

/** struct vcpu_hvm_context; cpu_regs is one of the structures below. */
export const VCPU_HVM_CONTEXT = { mode: 0, pad: 4, cpu_regs: 8, bytes: 128 } as const;

/** vcpu_hvm_context.mode (VCPU_HVM_MODE_*). */
export const VCPU_HVM_MODE = { "32B": 0, "64B": 1 } as const;

/** struct vcpu_hvm_x86_32. */
export const VCPU_HVM_X86_32 = {
  eax: 0,
  ecx: 4,
  edx: 8,
  ebx: 12,
  esp: 16,
  ebp: 20,
  esi: 24,
  edi: 28,
  eip: 32,
  eflags: 36,
  cr0: 40,
  cr3: 44,
  cr4: 48,
  pad1: 52,
  efer: 56,
  cs_base: 64,
  ds_base: 68,
  ss_base: 72,
  es_base: 76,
  tr_base: 80,
  cs_limit: 84,
  ds_limit: 88,
  ss_limit: 92,
  es_limit: 96,
  tr_limit: 100,
  cs_ar: 104,
  ds_ar: 106,
  ss_ar: 108,
  es_ar: 110,
  tr_ar: 112,
  pad2: 114,
  bytes: 120,
} as const;

/** struct vcpu_hvm_x86_64. */
export const VCPU_HVM_X86_64 = {
  rax: 0,
  rcx: 8,
  rdx: 16,
  rbx: 24,
  rsp: 32,
  rbp: 40,
  rsi: 48,
  rdi: 56,
  rip: 64,
  rflags: 72,
  cr0: 80,
  cr3: 88,
  cr4: 96,
  efer: 104,
  bytes: 112,
} as const;
