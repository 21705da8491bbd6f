/** The console's system calls, as src/linux makes them. */

import * as linux from "../linux/calls.ts";
import type { DescriptorCalls } from "./console.ts";

export const DESCRIPTOR_CALLS: DescriptorCalls = {
  read: (descriptor, buffer) => linux.read(descriptor, buffer, BigInt(buffer.length)),
  write: (descriptor, buffer) => linux.write(descriptor, buffer, BigInt(buffer.length)),
};
