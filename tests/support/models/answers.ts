/** What guests/ioreq-many talks to: a register a vCPU, which answers what only it can know. */

import type { DeviceModelHost } from "xenolith/dm";

export interface AnswersConfiguration {
  readonly address: number;
  readonly vcpus: number;
}

export default function answers(host: DeviceModelHost, { address, vcpus }: AnswersConfiguration): void {
  const numbers = new Uint32Array(vcpus), writes = new Uint32Array(vcpus);
  host.mapMemory(address, 8 * vcpus, {
    read(offset) {
      const vcpu = offset >> 3;
      return Math.imul(numbers[vcpu], 0x9e37_79b1) + writes[vcpu] - 1;
    },
    write(offset, _size, value) {
      numbers[offset >> 3] = value;
      writes[offset >> 3]++;
    },
  });
}
