/** guests/evtchn: event channels, upcalls, sleeping vCPUs, and a device model at the other end. */

import { assertEquals } from "@std/assert";
import { boot } from "xenolith/testing";
import { KVM, testWith } from "../support/capabilities.ts";

const SAID = [
  "ports",
  "masks",
  "callback by GSI",
  "callback by INTx",
  "callback by vector",
  "upcall vector",
  "timers",
  "20 events from a device model",
  "20 events each way, waited for by hlt",
  "20 events each way, waited for by SCHEDOP_block",
  "20 events each way, waited for by SCHEDOP_poll",
  "down and up",
  "all events came",
].map((line) => `evtchn: ${line}\n`).join("");

for (const carrier of ["worker", "native"] as const) {
  testWith(
    [KVM],
    `events reach vCPUs and a device model in a Worker, whatever they do (carrier ${carrier})`,
    async () => {
      const configuration = { port: 0x510 };
      await using vm = await boot("guests/evtchn.img", {
        timeoutMs: 60_000,
        vcpus: 2,
        carrier,
        cmdline: "model=0x510",
        deviceModels: [{ module: "tests/support/models/event_echo.ts", configuration }],
      });
      const { status, reason } = await vm.exited;
      assertEquals({ status, said: vm.console.text }, { status: 0, said: SAID }, reason);
    },
  );
}
