/** What a machine of this process counts of its windows, and who refers to its frames: no user of it is told that. */

import { BankViews } from "../../src/memory/bank.ts";
import { AREA, type Area, type AreaTally } from "../../src/memory/stage_area.ts";
import { ControlBlock } from "../../src/domain/control_block.ts";

/** What a domain's p2m counts. Valid until the machine is disposed. */
export class WindowCounts {
  constructor(private readonly control: ControlBlock) {}

  /** Of the only window. */
  get tally(): AreaTally {
    return this.#windows()[0].tally;
  }

  /** Pages that are waited for. */
  get openFaults(): number {
    return this.control.physicalMap.table.openFaults;
  }

  /** References to the frames of all memory that device models have brought. */
  get references(): number {
    const banks = new BankViews(this.control.bankTable), { table } = this.control.physicalMap;
    let sum = 0;
    for (const { server } of this.#windows()) {
      for (let id = 0, bank: number; (bank = table.memory(server, id)) >= 0; id++) {
        sum += banks.frameTable(bank).references;
      }
    }
    return sum;
  }

  #windows(): Area[] {
    return this.control.physicalMap.table.areas.filter(({ state }) => state === AREA.WINDOW);
  }
}

/** Runs `start`, which makes one machine in this isolate. @returns what it returned, and the machine's counts */
export async function withCounts<T>(start: () => Promise<T>): Promise<{ result: T; counts: WindowCounts }> {
  const { setStage } = ControlBlock.prototype, made: ControlBlock[] = [];
  ControlBlock.prototype.setStage = function (address: bigint) {
    made.push(this);
    setStage.call(this, address);
  };
  try {
    const result = await start();
    return { result, counts: new WindowCounts(made[0]) };
  } finally {
    ControlBlock.prototype.setStage = setStage;
  }
}
