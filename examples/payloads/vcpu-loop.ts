/** Machine code: a vCPU thread (run --carrier native) counts in `entries` how often it enters the guest. */

import { definePayload } from "xenolith/payload";

export default definePayload({
  name: "vcpu-loop",
  description: "The loop of vCPU threads counts its turns",
  again: true, // the count goes on
  native: { loop: "./vcpu_loop.o" },
});
