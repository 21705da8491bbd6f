/** A new domain's RAM: its banks, and where they are in the guest's physical map. */

import { PAGE_SIZE } from "../memory/address.ts";
import type { MachineMemory } from "../memory/bank.ts";
import type { SecondStage } from "../memory/second_stage.ts";
import { cutRam, type RamPiece } from "./grants.ts";
import type { DomainSpecification } from "./specification.ts";
import { GUEST_DOMID } from "../memory/domid.ts";

/** One bank, unless some of it is granted by itself: then each piece is one. @throws {LinuxError} @throws {MachineMemoryError} */
export function createRam(
  { memoryBytes, ram, models, sockets, populateOnDemand }: DomainSpecification,
  machine: MachineMemory,
  secondStage: SecondStage,
): RamPiece[] {
  const grants = [...models, ...sockets].map(({ memory }) => memory), pieces = cutRam(ram, grants);
  const whole = grants.every((grant) => typeof grant === "string");
  const bank = whole ? machine.allocate("xenolith-ram", memoryBytes / PAGE_SIZE, GUEST_DOMID) : undefined;
  return pieces.map(({ address, sizeBytes, offset }) => {
    const piece = bank === undefined
      ? { address, sizeBytes, bank: machine.allocate("xenolith-ram", sizeBytes / PAGE_SIZE, GUEST_DOMID), offset: 0 }
      : { address, sizeBytes, bank, offset };
    secondStage.mapRam(address, sizeBytes, piece.bank, piece.offset, populateOnDemand);
    return piece;
  });
}
