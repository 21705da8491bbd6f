/** A bug fixed while the guest prints, or rather made, so that a guest sees it: the scratch register answers inverted. */

import { definePayload, edit, replace } from "xenolith/payload";

export default definePayload({
  name: "fix-uart",
  description: "The UART's scratch register reads inverted",
  modules: {
    "src/devices/uart.ts": edit(replace(
      "return this.#state.getUint8(STATE.scratch);",
      "return ~this.#state.getUint8(STATE.scratch) & 0xff;",
    )),
  },
});
