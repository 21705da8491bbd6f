import { assert, assertEquals } from "@std/assert";
import { ANY_KVM, REAL_TIME, testWith } from "../support/capabilities.ts";

/** What the acceptance of releases reads; more keys may come. */
const PROMISED = [
  "exit_ratio_vs_c",
  "dispatch_ns",
  "dispatch_collections",
  "platform_ioreq_us",
  "platform_ioreq_ratio_vs_c",
  "start_to_exit_ms",
  "start_to_exit_bundled_ms",
  "rss_mib",
  "ioreq_worker_ratio_vs_c",
  "ioreq_process_us",
  "ioreq_process_ratio_vs_c",
  "ioreq_process_vs_qemu",
  "vcpus1024_first_ioreq_ms",
  "vcpus1024_rss_mib",
  "vcpus1024_us_per_ioreq",
  "vmap_lookup_ns",
  "vmap_map_ratio",
  "violation_us",
  "violation_ratio_vs_c",
  "exit_violation_us",
  "revoke_us",
  "revoke_ratio_vs_call",
  "revoke512_ratio_vs_c",
  "exit_revoke_us",
  "revoke_worst_us",
  "storm_ops",
  "storm_errors",
  "trace_cost_pct",
  "sync_us",
  "buffered_us",
  "ioeventfd_us",
  "hypercall_ratio_vs_pio",
  "evtchn_send_us",
  "evtchn_us",
  "evtchn_ratio_vs_c",
  "blk_qd1_vs_qemu",
  "blk_qd32_vs_qemu",
  "blk_seq_vs_qemu",
  "exits_per_request_qd32",
  "blk_vs_qsd",
  "blk_backend_ratio_vs_c",
  "patch_pause_ms",
  "patch_idle_cost_pct",
  "patch_cycles_ok",
];

async function bench(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const cwd = new URL("../../", import.meta.url);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: ["task", "bench", ...args], cwd })
    .output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

testWith([ANY_KVM, REAL_TIME], "bench --json prints one object with the promised figures and the host", async () => {
  const { code, stdout, stderr } = await bench("--quick", "--json");
  assertEquals(code, 0, stderr);
  const report: Record<string, unknown> = JSON.parse(stdout);
  assertEquals(report.schema, 1);
  assertEquals(Object.keys(report.host as object).sort(), ["cores", "cpu", "deno", "kernel"]);
  for (const key of PROMISED) {
    const value = report[key];
    assert(value === null || typeof value === "number" && Number.isFinite(value) && value >= 0, `${key}: ${value}`);
  }
  assertEquals(report.dispatch_collections, 0, "the exit path allocates");
  assertEquals(report.storm_errors, 0, stderr);
  assertEquals(report.patch_cycles_ok, 1, stderr);
});

testWith([ANY_KVM], "bench refuses names and options that it does not know", async () => {
  for (const unknown of ["--fast", "exit"]) {
    const { code, stdout, stderr } = await bench(unknown);
    assertEquals([code, stdout], [64, ""]);
    assert(stderr.includes(`unknown ${unknown}`), stderr);
  }
});
