/** Vmap against a naive model: a list of areas, and what each page of them shows (XENOLITH_PROPERTY_RUNS runs). */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ACCESS, type Access, viewAt } from "../../src/linux/mapping.ts";
import { type Mfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { ArenaFullError, type VmapArea, type VmapKind } from "../../src/memory/vmap.ts";
import { mappingBudget } from "../../src/memory/vmap_budget.ts";
import { mappingsIn } from "../linux/process.ts";
import { ARENA_PAGES, firstWords, pageAddress, VmapMachine, ZEROES } from "./vmap_machine.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 150);
const KINDS: VmapKind[] = ["default", "payload"];

/** What a page shows: a frame, or a word of nobody's. */
type Page = { readonly mfn: Mfn } | { word: number };

interface NaiveArea {
  readonly kind: VmapKind;
  /** In the arena; the page before it is the guard page. */
  readonly first: number;
  readonly access: Access;
  readonly owner: number;
  pages: Page[];
}

/** The vmap and its model; every action does the same to both and compares what comes of it. */
class Pair extends VmapMachine {
  readonly #areas: NaiveArea[] = [];
  readonly #start = { default: this.arenaAddress("default"), payload: this.arenaAddress("payload") };

  map(kind: VmapKind, mfns: readonly Mfn[], use: { access: Access; owner: number }, body: () => VmapArea): void {
    const taken = this.#taken(kind);
    if (mfns.some((mfn) => this.machine.bankOf(mfn) === undefined)) {
      return void assertThrows(body, RangeError, "no bank");
    }
    if (!hasFreeRun(taken, mfns.length + 1)) return void assertThrows(body, ArenaFullError);
    const area = body();
    const first = Number(area.address - this.#start[kind]) / PAGE_SIZE;
    assertEquals(area, { address: area.address, pages: mfns.length, ...use });
    assertEquals(
      taken.slice(first - 1, first + mfns.length),
      new Array(mfns.length + 1).fill(false),
      "only what is free",
    );
    this.#areas.push({ kind, first, ...use, pages: mfns.map((mfn) => ({ mfn })) });
  }

  unmap(index: number): void {
    const [area] = this.#areas.splice(index % Math.max(1, this.#areas.length), 1);
    if (area !== undefined) this.vmap.vunmap(this.#address(area));
  }

  /** @param fit as many as the area has pages, over and over */
  replace(index: number, mfns: readonly Mfn[], fit: boolean): void {
    const area = this.#areas[index % this.#areas.length];
    if (area === undefined) return;
    if (fit) mfns = area.pages.map((_, page) => mfns[page % mfns.length]);
    const body = () => this.vmap.replace(this.#address(area), mfns);
    if (mfns.length !== area.pages.length || mfns.some((mfn) => this.machine.bankOf(mfn) === undefined)) {
      return void assertThrows(body, RangeError);
    }
    body();
    area.pages = mfns.map((mfn) => ({ mfn }));
  }

  retire(index: number): void {
    const area = this.#areas[index % this.#areas.length];
    if (area === undefined) return;
    this.vmap.retire(this.#address(area));
    area.pages = area.pages.map(() => ({ word: ZEROES }));
  }

  /** Through an area, to a page of it. */
  write(index: number, page: number, word: number): void {
    const area = this.#areas[index % this.#areas.length];
    if (area === undefined || area.access !== ACCESS.RW) return;
    const at = page % area.pages.length, shown = area.pages[at];
    new Uint32Array(viewAt(pageAddress(this.#address(area), at), 4))[0] = word;
    if ("word" in shown) shown.word = word;
    else assertEquals(this.frame(shown.mfn), word, "in the directmap");
  }

  check(): void {
    assertEquals(this.vmap.areas, this.#areas.length);
    const mappings = this.#areas.reduce((sum, { pages }) => sum + 1 + this.#runs(pages), 0);
    assertEquals(mappingBudget.taken, mappings, "as many mappings are counted as the host counts");
    for (const area of this.#areas) {
      const address = this.#address(area), pages = area.pages.length;
      assertEquals(
        firstWords({ address, pages }),
        area.pages.map((page) => "word" in page ? page.word : this.frame(page.mfn)),
      );
    }
    for (const kind of KINDS) {
      const pages = Array.from({ length: ARENA_PAGES[kind] + 2 }, (_, index) => index - 1);
      const addresses = pages.map((page) => pageAddress(this.#start[kind], page));
      const areas = pages.map((page) => this.#areas.find((area) => area.kind === kind && holds(area, page)));
      assertEquals(
        addresses.map((address) => this.vmap.areaOf(address + BigInt(PAGE_SIZE - 1))),
        areas.map((area) =>
          area && {
            address: this.#address(area),
            pages: area.pages.length,
            access: area.access,
            owner: area.owner,
          }
        ),
      );
      assertEquals(
        addresses.map((address) => this.vmap.pagesAt(address)),
        areas.map((area, index) => area?.first === pages[index] ? area.pages.length : 0),
      );
    }
  }

  /** Everything can be unmapped, nobody holds a frame, and each arena is one mapping without access. */
  end(): void {
    while (this.#areas.length > 0) this.unmap(0);
    for (const kind of KINDS) {
      assertEquals(this.arenaAddress(kind), this.#start[kind]);
      const mappings = mappingsIn(this.#start[kind], (ARENA_PAGES[kind] + 1) * PAGE_SIZE);
      assertEquals(mappings.length, 1);
      assert(mappings[0].line.includes(" ---p "));
    }
    assertEquals(this.machine.references, 0);
  }

  #address({ kind, first }: NaiveArea): bigint {
    return pageAddress(this.#start[kind], first);
  }

  /** How often the next page is not the next of the same file. */
  #runs(pages: readonly Page[]): number {
    const follows = (page: Page, before: Page) => {
      if ("word" in page || "word" in before) return "word" in page && "word" in before;
      return page.mfn === before.mfn + 1 && this.machine.bankOf(page.mfn) === this.machine.bankOf(before.mfn);
    };
    return pages.filter((page, index) => index === 0 || !follows(page, pages[index - 1])).length;
  }

  /** Which pages of an arena are areas or their guard pages. */
  #taken(kind: VmapKind): boolean[] {
    const taken = new Array<boolean>(ARENA_PAGES[kind]).fill(false);
    for (const area of this.#areas) {
      if (area.kind === kind) taken.fill(true, area.first - 1, area.first + area.pages.length);
    }
    return taken;
  }
}

function holds({ first, pages }: NaiveArea, page: number): boolean {
  return page >= first && page < first + pages.length;
}

function hasFreeRun(taken: readonly boolean[], pages: number): boolean {
  return taken.map((page) => page ? "x" : ".").join("").includes(".".repeat(pages));
}

/** A frame of the machine, now and then none: by bank and number. */
const frame = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ bank: fc.constant(0), frame: fc.oneof(fc.nat(3), fc.integer({ min: 508, max: 511 })) }),
  },
  { weight: 3, arbitrary: fc.record({ bank: fc.constant(1), frame: fc.nat(4) }) },
  { weight: 3, arbitrary: fc.record({ bank: fc.constant(2), frame: fc.nat(11) }) },
  { weight: 1, arbitrary: fc.record({ bank: fc.constant(2), frame: fc.integer({ min: 12, max: 13 }) }) },
);
const frames = fc.oneof({ weight: 4, arbitrary: fc.array(frame, { minLength: 1, maxLength: 6 }) }, {
  weight: 1,
  arbitrary: fc.array(frame, { minLength: 1, maxLength: 20 }),
});
const kind = fc.constantFrom(...KINDS), index = fc.nat(100);
const use = fc.record({ access: fc.constantFrom(...Object.values(ACCESS)), owner: fc.integer() });

const action = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("map" as const), kind, frames, use }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("contiguous" as const),
      kind,
      frame,
      count: fc.integer({ min: 1, max: 9 }),
      use,
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("unmap" as const), index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("replace" as const), index, frames, fit: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("retire" as const), index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("write" as const), index, page: index, word: fc.nat() }) },
);

Deno.test("Vmap does what the naive model does, whatever is asked of it", () => {
  const property = fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
    using pair = new Pair();
    const { vmap } = pair;
    for (const action of actions) {
      if (action.do === "map") {
        const mfns = action.frames.map(({ bank, frame }) => pair.mfn(bank, frame));
        const { access, owner } = action.use;
        pair.map(action.kind, mfns, action.use, () => vmap.vmap(mfns, action.kind, access, owner));
      } else if (action.do === "contiguous") {
        const first = pair.mfn(action.frame.bank, action.frame.frame);
        const mfns = Array.from({ length: action.count }, (_, index) => first + index as Mfn);
        const { access, owner } = action.use;
        pair.map(
          action.kind,
          mfns,
          action.use,
          () => vmap.vmapContiguous(first, action.count, action.kind, access, owner),
        );
      } else if (action.do === "replace") {
        const mfns = action.frames.map(({ bank, frame }) => pair.mfn(bank, frame));
        pair.replace(action.index, mfns, action.fit);
      } else if (action.do === "write") {
        pair.write(action.index, action.page, action.word);
      } else {
        pair[action.do](action.index);
      }
      pair.check();
    }
    pair.end();
  });
  fc.assert(property, { numRuns: RUNS });
});
