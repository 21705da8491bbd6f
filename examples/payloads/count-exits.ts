/** An exit handler instrumented: exits that write to a port are counted once more, where no exit reason of KVM's is. */

import { definePayload, edit, replace } from "xenolith/payload";

export default definePayload({
  name: "count-exits",
  description: "Counts writes to ports among the exits, as reason 63",
  modules: {
    "src/domain/vcpu_machine.ts": edit(replace(
      "    this.#write = run.ioIsOut;\n",
      "    this.#write = run.ioIsOut;\n    if (this.#write) this.#exits[63]++;\n",
    )),
  },
});
