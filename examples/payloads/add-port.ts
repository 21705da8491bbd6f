/** A device model that runs gets one more port: the debug console answers at 0x4e9, too. */

import { definePayload, edit, replace } from "xenolith/payload";

export default definePayload({
  name: "add-port",
  description: "The debug console answers at port 0x4e9, too",
  modules: {
    "src/devices/debug_console.ts": edit(replace(
      "[DEBUG_CONSOLE.port, DEBUG_CONSOLE.other]",
      "[DEBUG_CONSOLE.port, DEBUG_CONSOLE.other, 0x4e9]",
    )),
  },
});
