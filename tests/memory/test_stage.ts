/** A p2m and the shared part of a second stage, without a VM. */

import { Mapping } from "../../src/linux/mapping.ts";
import { BankViews, MachineMemory } from "../../src/memory/bank.ts";
import { P2m, p2mMemory } from "../../src/memory/p2m.ts";
import { PhysicalMap } from "../../src/memory/physical_map.ts";
import { STAGE_BYTES, StageTable } from "../../src/memory/stage_table.ts";

export class TestStage implements Disposable {
  readonly #stack = new DisposableStack();
  readonly machine = this.#stack.use(new MachineMemory());
  readonly p2mAddress = this.#stack.use(p2mMemory()).address;
  readonly p2m = new P2m(this.p2mAddress);
  readonly banks = new BankViews(this.machine.tableAddress);
  readonly table = new StageTable(this.#stack.use(Mapping.anonymous(STAGE_BYTES, "second stage")).address);
  readonly map = new PhysicalMap(this.table, this.p2m, this.banks);

  constructor() {
    this.table.ticksPerUs = 1000;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
