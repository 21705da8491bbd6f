/**
 * The well-behaved one of two device models that share guests/ioreq-many's registers: it claims all of them, and answers
 * by what it was asked before, so that writes may go to another server or nowhere. The guest checks each answer.
 */

import type { DeviceModelHost } from "xenolith/dm";
import type { AnswersConfiguration } from "./answers.ts";

export default function witness(host: DeviceModelHost, { address, vcpus }: AnswersConfiguration): void {
  const reads = new Uint32Array(vcpus);
  host.mapMemory(address, 8 * vcpus, {
    read(offset) {
      const vcpu = offset >> 3;
      return Math.imul(vcpu, 0x9e37_79b1) + reads[vcpu]++;
    },
    write() {},
  });
}
