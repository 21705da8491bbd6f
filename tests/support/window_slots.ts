/**
 * A program for tests/fault/windows.test.ts: while a vCPU waits for a page that never comes, its device model has KVM change
 * slots, which is refused. Prints how the run ended: by its time-out, if nothing keeps the process from it.
 */

import { DirectedStage, WINDOW, WINDOW_GFN, WINDOW_PAGES } from "./directed.ts";

const stage = await DirectedStage.start({}, (windows) => windows.mapWindow(WINDOW, WINDOW_PAGES, "fault"));
void stage.vm.exited.then(({ reason }) => {
  console.log(reason);
  Deno.exit();
});
await stage.read(0);
await stage.violated(WINDOW_GFN);
const { client } = stage.windows.model;
const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: 0 })).out;
const refusal = await client.try("get_ioreq_server_info", { id, flags: 0 });
if (refusal !== "EBUSY") throw new Error(`get_ioreq_server_info: ${refusal}`);
await client.do("set_ioreq_server_state", { id, enabled: 1 });
stage.vm.setTimeout(20);
