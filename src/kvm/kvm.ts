/** /dev/kvm itself: version, capabilities, new VMs. */

import { EACCES, EINTR, ENOENT, EPERM } from "../linux/errno.ts";
import { Descriptor, failedWith } from "../linux/descriptor.ts";
import { KVM, KVM_API_VERSION } from "./abi.ts";
import { CpuidTable } from "./cpuid.ts";
import { Vm } from "./vm.ts";

/** The host cannot run guests (exit status 69). The message says why and what to do. */
export class KvmUnavailable extends Error {
  static {
    this.prototype.name = "KvmUnavailable";
  }
}

/** The open /dev/kvm. */
export class Kvm implements Disposable {
  private constructor(private readonly descriptor: Descriptor) {}

  /** Opens /dev/kvm. @throws {KvmUnavailable} there is none, it may not be opened, or it speaks another version */
  static open(path = "/dev/kvm"): Kvm {
    using stack = new DisposableStack();
    const descriptor = stack.use(openDevice(path));
    const version = versionOf(descriptor);
    if (version !== KVM_API_VERSION) {
      throw new KvmUnavailable(`${path} speaks version ${version} of the KVM interface, not ${KVM_API_VERSION}`);
    }
    stack.move();
    return new Kvm(descriptor);
  }

  /** What KVM_CHECK_EXTENSION answers for one of CAP: 0 for a capability that is missing. */
  extension(capability: number): number {
    return this.descriptor.ioctlValue(KVM.CHECK_EXTENSION, "KVM_CHECK_EXTENSION", capability);
  }

  /** Bytes of a vCPU's run page and what KVM maps behind it. */
  get runPageBytes(): number {
    return this.descriptor.ioctlValue(KVM.GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", 0);
  }

  /** The CPUID leaves that KVM can give a guest on this host. */
  supportedCpuid(): CpuidTable {
    const table = new CpuidTable(256);
    this.descriptor.ioctl(KVM.GET_SUPPORTED_CPUID, "KVM_GET_SUPPORTED_CPUID", table.bytes);
    return table;
  }

  /** KVM_CREATE_VM. A signal interrupts it with EINTR when many VMs come and go: then again. @throws {LinuxError} */
  createVm(): Vm {
    const { runPageBytes } = this;
    for (;;) {
      try {
        const number = this.descriptor.ioctlValue(KVM.CREATE_VM, "KVM_CREATE_VM", 0);
        return new Vm(new Descriptor(number, "VM"), runPageBytes);
      } catch (error) {
        if (!failedWith(error, EINTR)) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.descriptor[Symbol.dispose]();
  }
}

function openDevice(path: string): Descriptor {
  try {
    return Descriptor.open(path);
  } catch (error) {
    if (failedWith(error, ENOENT)) {
      throw new KvmUnavailable(
        `no ${path}: enable virtualisation in the firmware and load kvm_intel or kvm_amd, or use --lane`,
      );
    }
    if (failedWith(error, EACCES, EPERM)) {
      throw new KvmUnavailable(`no permission on ${path}: add the user to its group (often "kvm"), or use --lane`);
    }
    throw new KvmUnavailable(`${path} cannot be opened: ${(error as Error).message}`);
  }
}

/** KVM_GET_API_VERSION; a device that does not know it (ENOTTY) is not KVM. */
function versionOf(descriptor: Descriptor): number {
  try {
    return descriptor.ioctlValue(KVM.GET_API_VERSION, "KVM_GET_API_VERSION", 0);
  } catch (error) {
    throw new KvmUnavailable(`${descriptor.subject} is not KVM: ${(error as Error).message}`);
  }
}
