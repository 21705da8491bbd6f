/** The pages of one server: got one by one, shown contiguously, and given back in the opposite order. */

import type { Bank } from "../memory/bank.ts";
import { FRAME_TYPE } from "../memory/frame_table.ts";
import type { Gfn, Mfn } from "../memory/address.ts";

/** Where a page comes from, and what has to be done when it is not needed any more. */
export interface PageSource {
  /** Adds to `held` what gives the page back. @throws whatever says that there is none */
  take(held: DisposableStack): ServerPage;
}

/** One page of a server. */
export interface ServerPage {
  readonly mfn: Mfn;
  readonly bank: Bank;
  /** Its place in the guest, if it was got by gfn. */
  readonly gfn: Gfn | undefined;
}

/** A place in the address space that shows one set of pages after another (vmap's area). */
export interface Window {
  /** @returns its address. @throws when it cannot; then it shows what it showed before */
  show(mfns: readonly Mfn[]): bigint;
  /** From now on late readers see zeroes. */
  hide(): void;
}

/** All pages of a server, with the references that keep them. Disposing it gives them back, the last first. */
export class ServerPages implements Disposable {
  readonly #held: DisposableStack;
  readonly ioreq: readonly ServerPage[];
  readonly buffered: ServerPage | undefined;

  /**
   * Takes `count` ioreq pages and, if wanted, a buffered one. When a step fails, all before it are undone.
   * @throws whatever the source threw; FrameError a page that is not writable memory
   */
  constructor(source: PageSource, count: number, wantsBuffered: boolean) {
    using held = new DisposableStack();
    this.ioreq = Array.from({ length: count }, () => takeWritable(source, held));
    this.buffered = wantsBuffered ? takeWritable(source, held) : undefined;
    this.#held = held.move();
  }

  /** The ioreq pages' frames, in the order of the slots. */
  get mfns(): Mfn[] {
    return this.ioreq.map(({ mfn }) => mfn);
  }

  /** All of them, the buffered one first, as the resource numbers them. */
  get all(): ServerPage[] {
    return [...(this.buffered === undefined ? [] : [this.buffered]), ...this.ioreq];
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }
}

/** One reference with a writable type, and one call that gives both back (review of v3: which reference is dropped?). */
function takeWritable(source: PageSource, held: DisposableStack): ServerPage {
  const page = source.take(held);
  page.bank.frameTable.getType(page.mfn, FRAME_TYPE.WRITABLE);
  held.defer(() => page.bank.frameTable.putType(page.mfn));
  return page;
}
