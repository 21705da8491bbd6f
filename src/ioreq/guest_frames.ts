/** Guest frames that servers may be got at by: taken from the domain's pool, out of the guest while a server is enabled. */

import { ENOMEM } from "../linux/errno.ts";
import type { Gfn } from "../memory/address.ts";
import type { Bank } from "../memory/bank.ts";
import { DmOpError } from "./dm_op_error.ts";
import type { GfnPool } from "./gfn_pool.ts";
import type { PageSource, ServerPage } from "./server_pages.ts";

/** The guest frames that servers may be got at by. */
export interface GuestFrames {
  readonly pool: GfnPool;
  /** The memory behind a gfn of the pool, which is put there if there is none yet. @throws when there is none */
  memory(gfn: Gfn): Bank;
  /** Puts it into the p2m. */
  add(gfn: Gfn): void;
  /** Takes it out of the p2m. */
  remove(gfn: Gfn): void;
}

/** Takes pages by gfn, and knows for all servers of a domain which gfns are out of the p2m. */
export class GuestFrameSource implements PageSource {
  /** Also those that could not go back when their server was disabled, whoever has them by now. */
  readonly #removed = new Set<Gfn>();

  constructor(private readonly frames: GuestFrames) {}

  take(held: DisposableStack): ServerPage {
    const { pool } = this.frames, gfn = pool.allocate();
    if (gfn === undefined) throw new DmOpError("get_ioreq_server_info", ENOMEM, "the pool of ioreq gfns is empty");
    held.defer(() => pool.release(gfn));
    this.add(gfn);
    const bank = this.frames.memory(gfn);
    return { bank, mfn: bank.firstMfn, gfn };
  }

  /** Has the guest see it; nothing if it does. @throws when it cannot */
  add(gfn: Gfn): void {
    if (!this.#removed.has(gfn)) return;
    this.frames.add(gfn);
    this.#removed.delete(gfn);
  }

  /** Has the guest see nothing there; nothing if it does not. @throws when it cannot */
  remove(gfn: Gfn): void {
    if (this.#removed.has(gfn)) return;
    this.frames.remove(gfn);
    this.#removed.add(gfn);
  }
}
