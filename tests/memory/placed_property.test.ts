/** Frames that are placed, moved, granted and ballooned in any order, against a model: none is lost, none is at two homes. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { failing, replacing } from "../support/replacing.ts";
import { HOLE, ONES, OTHER_REGION, RAM, RAM_PAGES, REGION, REGION_PAGES, TestPlaced } from "./test_placed.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 150);
const ENOMEM = 12, SPECIALS = 4;

/** Six pages of RAM and six of nothing, and some of extended regions: neighbours, in other chunks, and the last ones. */
const IN_REGIONS = [0, 1, SUPERPAGE_FRAMES, REGION_PAGES - 1].map((page) => REGION + page).concat(OTHER_REGION);
const GFNS = [0, 1, 2, 3, 4, 5].flatMap((page) => [RAM + page, HOLE + page]).concat(IN_REGIONS);
const gfn = fc.constantFrom(...GFNS);
const action = fc.oneof(
  fc.record({ op: fc.constant("place"), gfn, frame: fc.nat(SPECIALS - 1) }),
  fc.record({ op: fc.constant("move"), gfn, to: gfn }),
  fc.record({ op: fc.constant("remove"), gfn }),
  fc.record({ op: fc.constant("decrease"), gfn }),
  fc.record({ op: fc.constant("populate"), gfn }),
  fc.record({ op: fc.constant("grant"), gfn, to: gfn, readOnly: fc.boolean() }),
  fc.record({ op: fc.constant("ungrant"), gfn }),
  fc.record({ op: fc.constant("fail"), gfn, to: gfn, frame: fc.nat(SPECIALS - 1), at: fc.nat(3) }),
);
type Action = { op: string; gfn: number; to?: number; frame?: number; readOnly?: boolean; at?: number };

/** What stands at a gfn. */
interface Standing {
  readonly mfn: number;
  readonly grant?: true;
}

class Model {
  readonly standing = new Map<number, Standing>();
  /** First byte of each frame that anybody has. */
  readonly bytes = new Map<number, number>();

  constructor(readonly test: TestPlaced) {
    for (let page = 0; page < RAM_PAGES; page++) {
      this.standing.set(RAM + page, { mfn: test.bank.firstMfn + page });
      this.bytes.set(test.bank.firstMfn + page, page);
    }
    for (let frame = 0; frame < SPECIALS; frame++) this.bytes.set(test.special(frame), 0x80 + frame);
  }

  do({ op, gfn, to = 0, frame = 0, readOnly = false, at = 0 }: Action): void {
    const { test, standing } = this, { placed, ram } = test, here = standing.get(gfn);
    const isRam = (gfn: number) => gfn < HOLE, isOwn = here?.mfn === test.bank.firstMfn + (gfn - RAM) && !here.grant;
    if (op === "place") {
      assertEquals(placed.place(gfn, test.special(frame)), 0);
      this.#leave(test.special(frame));
      standing.set(gfn, { mfn: test.special(frame) });
    } else if (op === "move") {
      const result = placed.move(gfn, to);
      const isKeptFree = gfn !== to && to >= REGION && here !== undefined && !test.table.isSpecial(here.mfn);
      assertEquals(result === 0, here !== undefined && !here.grant && !isKeptFree, `${result}`);
      if (result === 0 && gfn !== to) this.#move(gfn, to);
    } else if (op === "remove" || op === "decrease") {
      const done = op === "remove" ? placed.remove(gfn) === 0 : placed.decrease(gfn, 1) === 1;
      assertEquals(done, here !== undefined);
      standing.delete(gfn);
    } else if (op === "populate") {
      const home = test.bank.firstMfn + (gfn - RAM);
      const isHeld = [...standing.values()].some(({ mfn }) => mfn === home);
      assertEquals(ram.populate(gfn, 1) === 1, isRam(gfn) && here === undefined && !isHeld);
      if (!isRam(gfn) || here !== undefined || isHeld) return;
      standing.set(gfn, { mfn: home });
      this.bytes.set(home, 0);
    } else if (op === "grant") {
      if (here === undefined) return;
      const result = placed.mapGrant(to, here.mfn, readOnly);
      assertEquals(result === 0, !standing.get(to)?.grant && !(readOnly && isRam(to)));
      if (result === 0) this.standing.set(to, { mfn: here.mfn, grant: true });
    } else if (op === "ungrant") {
      assertEquals(placed.unmapGrant(gfn, here?.mfn ?? 0) === 0, here?.grant === true);
      if (here?.grant) standing.delete(gfn);
    } else if (!isOwn || isRam(to) || to >= REGION) {
      this.#fail(at, () => placed.place(to, test.special(frame)), () => {
        this.#leave(test.special(frame));
        standing.set(to, { mfn: test.special(frame) });
      }, to);
    } else {
      this.#fail(at, () => placed.move(gfn, to), () => this.#move(gfn, to), to);
    }
  }

  /** One of the host's steps fails: then all is as it was, or what stood at `to` is gone. */
  #fail(at: number, body: () => number, done: () => void, to: number): void {
    const { test } = this, refusal = new LinuxError("ioctl", ENOMEM, "a slot");
    let calls = 0;
    const refuse = () =>
      replacing(test.kvm, "setMemoryRegion", (original, ...args) => {
        if (calls++ === at) throw refusal;
        return original(...args);
      }, body);
    const result = to < HOLE ? replacing(test.map.userfault, "register", failing(at, -ENOMEM), body) : refuse();
    if (result === 0) done();
    else if (to >= HOLE) this.standing.delete(to);
    test.map.runs.sweep(test.kvm.vm);
    for (const gfn of this.standing.keys()) if (gfn >= HOLE) test.map.runs.ensure(test.kvm.vm, gfn);
  }

  /** A special frame leaves where it stood, but for grants of it. */
  #leave(mfn: number): void {
    for (const [gfn, found] of this.standing) if (found.mfn === mfn && !found.grant) this.standing.delete(gfn);
  }

  #move(from: number, to: number): void {
    const found = this.standing.get(from)!;
    this.standing.delete(from);
    this.standing.set(to, found);
  }

  check(): void {
    const { test, standing } = this;
    let references = 0, has = 0;
    for (const gfn of GFNS) {
      const found = standing.get(gfn), entry = test.p2m.lookup(gfn), where = `gfn 0x${gfn.toString(16)}`;
      if (found === undefined) {
        assertEquals(p2mType(entry), P2M_TYPE.INVALID, where);
        const isShown = test.chunks.some(([first, pages]) => gfn >= first && gfn < first + pages);
        assertEquals(test.look(gfn), gfn < HOLE || isShown ? ONES : "exits", where);
        continue;
      }
      assertEquals(p2mMfn(entry), found.mfn, where);
      assertEquals(test.look(gfn), this.bytes.get(found.mfn), where);
      if (!found.grant) assertEquals(test.read(gfn), this.bytes.get(found.mfn), where);
      if (found.grant || found.mfn !== test.bank.firstMfn + (gfn - RAM)) references++;
    }
    for (const { mfn, grant } of standing.values()) if (!grant && !test.table.isSpecial(mfn)) has++;
    assertEquals([test.machine.references, test.ram.reservation, test.table.staleRuns], [references, has, 0]);
    for (let frame = 0; frame < SPECIALS; frame++) {
      const mfn = test.special(frame), at = [...standing].find(([, found]) => found.mfn === mfn && !found.grant);
      assertEquals(test.table.gfnOfSpecial(mfn), at?.[0] ?? -1);
    }
  }
}

for (const registered of [true, false]) {
  testWith([USERFAULT], `frames are where a Map of them says, whatever is done (faults wait: ${registered})`, () => {
    const property = fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
      using test = new TestPlaced(registered);
      const model = new Model(test);
      // What populate() has put back when RAM was prepared is empty.
      if (registered) model.bytes.set(test.bank.firstMfn + RAM_PAGES - 1, 0);
      for (const action of actions as Action[]) {
        model.do(action);
        model.check();
      }
    });
    fc.assert(property, { numRuns: RUNS });
  });
}
