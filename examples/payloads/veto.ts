/** A payload that is never applied: its hook vetoes. */

import { definePayload, edit, replace } from "xenolith/payload";

export default definePayload({
  name: "veto",
  description: "Vetoes its own application",
  modules: {
    "src/devices/post.ts": edit(replace("read: () => state.getUint8(0)", "read: () => 0")),
  },
  hooks: "./veto_hooks.ts",
  again: true,
});
