/** Interfaces of the host's whose other end is a descriptor (linux/if_tun.h). */

import { Descriptor } from "./descriptor.ts";
import { EINVAL } from "./errno.ts";
import { LinuxError } from "./linux_error.ts";

const TUNSETIFF = 0x4004_54ca, IFF_TAP = 2, IFF_NO_PI = 0x1000;

/** Bytes of an interface's name; the last one is 0. */
const IFNAMSIZ = 16;
/** struct ifreq: the name, and a union of which the flags are the first two bytes. */
const IFREQ_BYTES = 40;

/** Where such interfaces are made. */
export const TAP_DEVICE = "/dev/net/tun";

/**
 * Opens the interface `name`; one that is not there yet is made, and goes with the descriptor. Each read is a frame that
 * the host sends, each write one that it receives; neither waits.
 * @throws {LinuxError} of open: EACCES, ENOENT; of ioctl: EPERM, EBUSY somebody has it, EINVAL no name or another kind
 */
export function openTap(name: string): Descriptor {
  const bytes = new TextEncoder().encode(name), request = new DataView(new ArrayBuffer(IFREQ_BYTES));
  if (bytes.length === 0 || bytes.length >= IFNAMSIZ) throw new LinuxError("ioctl TUNSETIFF", EINVAL, name);
  new Uint8Array(request.buffer).set(bytes);
  request.setUint16(IFNAMSIZ, IFF_TAP | IFF_NO_PI, true);
  using stack = new DisposableStack();
  const descriptor = stack.use(Descriptor.open(TAP_DEVICE, false, false));
  descriptor.ioctl(TUNSETIFF, "TUNSETIFF", request);
  stack.move();
  return descriptor;
}
