/** The bundle's entry: the command line, or the Worker or process that its name says. One file is all of them. */

import { MODEL_PROCESS } from "../../src/domain/process_words.ts";

declare const WorkerGlobalScope: unknown;

if (typeof WorkerGlobalScope === "undefined" && Deno.args[0] === MODEL_PROCESS) {
  await import("../../src/domain/model_process.ts");
} else if (typeof WorkerGlobalScope === "undefined") {
  const { main } = await import("../../src/cli/main.ts");
  await main(Deno.args);
} else if (self.name.startsWith("carrier:")) {
  await import("../../src/domain/carrier_worker.ts");
} else if (self.name.startsWith("dispatcher:")) {
  await import("../../src/domain/dispatcher_worker.ts");
} else if (self.name.startsWith("pager:")) {
  await import("../../src/domain/pager_worker.ts");
} else if (self.name.startsWith("xen:")) {
  await import("../../src/domain/xen_worker.ts");
} else if (self.name.startsWith("gate:")) {
  await import("../../src/domain/gate_worker.ts");
} else {
  await import("../../src/domain/model_worker.ts");
}
