/** The state in which an HVM guest starts a vCPU: struct vcpu_hvm_context, checked (xen/arch/x86/hvm/domain.c). */

import { VCPU_HVM_CONTEXT, VCPU_HVM_MODE, VCPU_HVM_X86_32, VCPU_HVM_X86_64 } from "./abi/hvm_vcpu.ts";

const REGISTERS = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip", "rflags"] as const;
const CONTROL_REGISTERS = ["cr0", "cr3", "cr4", "efer"] as const;
const SEGMENTS = ["cs", "ds", "ss", "es", "tr"] as const;

type SegmentName = (typeof SEGMENTS)[number];

/** A segment register; its selector is 0. */
export interface HvmSegment {
  readonly base: number;
  /** Counted in pages if the attributes say G. */
  readonly limit: number;
  /** type [3:0], S 4, DPL [6:5], P 7, AVL 8, L 9, D/B 10, G 11; 0: a null segment (ds and es only). */
  readonly attributes: number;
}

/** A vCPU's first state; what is not named is as after a reset. */
export interface HvmVcpuContext {
  readonly registers: Readonly<
    Record<(typeof REGISTERS)[number] | (typeof CONTROL_REGISTERS)[number], bigint>
  >;
  readonly segments: Readonly<Record<SegmentName, HvmSegment>>;
}

/** Bits of control registers that the guest's CPUID allows; none is above bit 31. */
export interface ControlBits {
  readonly cr4: number;
  readonly efer: number;
}

const CR0_PG = 1n << 31n, CR4_PAE = 1n << 5n, EFER_LME = 1n << 8n, EFER_LMA = 1n << 10n;

/** Bit 1 of rflags is always set; of the rest only what is a flag is taken (X86_EFLAGS_ALL). */
const RFLAGS_ALWAYS = 0x2n, RFLAGS = 0x3f_7fd5n;

const TYPE = { accessed: 1, busy: 2, writable: 2, code: 8, all: 15 } as const;
const S = 1 << 4, P = 1 << 7, G = 1 << 11, UNUSED = 0xf000, BUSY_TSS = 11;

/** The segments of 64-bit mode. */
const LONG_DATA: HvmSegment = { base: 0, limit: 0xffff_ffff, attributes: 0xc93 };
const LONG_SEGMENTS = {
  cs: { ...LONG_DATA, attributes: 0xa9b },
  ds: LONG_DATA,
  ss: LONG_DATA,
  es: LONG_DATA,
  tr: { base: 0, limit: 0x67, attributes: 0x8b },
};

/** Takes the structure at the start of a view; once a vCPU, so no hot path. @returns undefined: Xen says -EINVAL */
export function readContext(view: DataView, allowed: ControlBits): HvmVcpuContext | undefined {
  if (view.getUint32(VCPU_HVM_CONTEXT.pad, true) !== 0) return undefined;
  const mode = view.getUint32(VCPU_HVM_CONTEXT.mode, true);
  const structure = new DataView(view.buffer, view.byteOffset + VCPU_HVM_CONTEXT.cpu_regs);
  const context = mode === VCPU_HVM_MODE["32B"]
    ? read32(structure)
    : mode === VCPU_HVM_MODE["64B"]
    ? read64(structure)
    : undefined;
  if (context === undefined) return undefined;
  const { cr4, efer } = context.registers;
  const active = efer & EFER_LME ? efer | EFER_LMA : efer;
  if (cr4 & ~BigInt(allowed.cr4) || active & ~BigInt(allowed.efer)) return undefined;
  return { ...context, registers: { ...context.registers, efer: active } };
}

function read64(view: DataView): HvmVcpuContext | undefined {
  const registers = registersOf((name) => view.getBigUint64(VCPU_HVM_X86_64[name], true));
  const isLong = registers.cr0 & CR0_PG && registers.cr4 & CR4_PAE && registers.efer & EFER_LME;
  if (!isCanonical(registers.rip) || !isLong) return undefined;
  return { registers, segments: LONG_SEGMENTS };
}

/** Protected mode with or without paging, or compatibility mode. */
function read32(view: DataView): HvmVcpuContext | undefined {
  const at = VCPU_HVM_X86_32;
  for (const pad of [at.pad1, at.pad1 + 2, at.pad2, at.pad2 + 2, at.pad2 + 4]) {
    if (view.getUint16(pad, true) !== 0) return undefined;
  }
  const registers = registersOf((name) =>
    name === "efer" ? view.getBigUint64(at.efer, true) : BigInt(view.getUint32(at[narrow(name)], true))
  );
  const segments = segmentsOf((name) => ({
    base: view.getUint32(at[`${name}_base`], true),
    limit: view.getUint32(at[`${name}_limit`], true),
    attributes: touched(name, view.getUint16(at[`${name}_ar`], true)),
  }));
  if (!SEGMENTS.every((name) => isSegment(name, segments[name].attributes))) return undefined;
  const { cs, ds, ss, es } = segments;
  const limit = cs.attributes & G ? cs.limit * 4096 + 4095 : cs.limit; // Xen's is cut off at 32 bits, as rip is
  const areLevelsRight = level(ss) === level(cs) &&
    [ds, es].every((data) => !(data.attributes & P) || level(data) <= level(cs));
  const isLengthRight = !(registers.efer & EFER_LMA) || registers.efer & EFER_LME;
  if (Number(registers.rip) > limit % 2 ** 32 || !areLevelsRight || !isLengthRight) return undefined;
  return { registers, segments };
}

/** Present segments count as used: the processor would otherwise set accessed, or busy, itself. */
function touched(name: SegmentName, attributes: number): number {
  if (!(attributes & P)) return attributes;
  return attributes | (name === "tr" ? TYPE.busy : TYPE.accessed);
}

function isSegment(name: SegmentName, attributes: number): boolean {
  const type = attributes & TYPE.all, isData = name === "ds" || name === "es";
  if (attributes & UNUSED) return false;
  if (attributes === 0) return isData;
  if (!(attributes & P)) return false;
  if (name === "tr") return !(attributes & S) && type === BUSY_TSS;
  if (!(attributes & S)) return false;
  if (name === "cs") return (type & TYPE.code) !== 0;
  if (name === "ss") return (type & TYPE.code) === 0 && (type & TYPE.writable) !== 0;
  return (type & TYPE.code) === 0 || (type & TYPE.writable) !== 0; // of code that bit says readable
}

function level(segment: HvmSegment): number {
  return segment.attributes >> 5 & 3;
}

function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}

function narrow(name: Exclude<keyof HvmVcpuContext["registers"], "efer">) {
  return name.replace(/^r/, "e") as Exclude<keyof typeof VCPU_HVM_X86_32, "bytes">;
}

function registersOf(
  read: (name: keyof HvmVcpuContext["registers"]) => bigint,
): HvmVcpuContext["registers"] {
  const entries = [...REGISTERS, ...CONTROL_REGISTERS].map((name) => [name, read(name)] as const);
  const registers = Object.fromEntries(entries) as Record<keyof HvmVcpuContext["registers"], bigint>;
  return { ...registers, rflags: registers.rflags & RFLAGS | RFLAGS_ALWAYS };
}

function segmentsOf(read: (name: SegmentName) => HvmSegment): Record<SegmentName, HvmSegment> {
  return Object.fromEntries(SEGMENTS.map((name) => [name, read(name)])) as Record<SegmentName, HvmSegment>;
}
