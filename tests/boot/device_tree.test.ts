/** Device trees as dtc reads them, and how each format hands one over. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { flatten, machineTree, type TreeNode } from "../../src/boot/device_tree.ts";
import { planBoot } from "../../src/boot/loaders.ts";
import { memoryMap } from "../../src/boot/memory_map.ts";
import { type BootRequest, ImageError, MEMORY_TYPE } from "../../src/boot/plan.ts";
import { program, testWith } from "../support/capabilities.ts";
import { bzImageFile, GuestMemory, pvhImage, requestFor, TEXT } from "./images.ts";

const DTC = program("dtc", "device-tree-compiler");
const REGIONS = [{ address: 2 ** 32, sizeBytes: 2 ** 30 }, { address: 0x180_0000_0000, sizeBytes: 0x7_ffe0_0000 }];

/** The source of a tree, by the reference compiler. It fails at a tree that is damaged, or that it would warn of. */
async function source(tree: Uint8Array): Promise<string> {
  const args = ["-I", "dtb", "-O", "dts", "-s", "-W", "no-unit_address_vs_reg"];
  const dtc = new Deno.Command("dtc", { args, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
  const writer = dtc.stdin.getWriter();
  await writer.write(tree);
  await writer.close();
  const { stdout, stderr, success } = await dtc.output();
  const said = new TextDecoder().decode(stderr).split("\n").filter((line) => line !== "");
  assert(success, said.join("\n"));
  assertEquals(said, []);
  return new TextDecoder().decode(stdout);
}

testWith(
  [DTC],
  "flatten() writes what dtc reads: texts, lists of them, cells, empty properties and nodes in nodes",
  async () => {
    const tree: TreeNode = {
      properties: {
        text: "a text",
        texts: ["one", "two"],
        cells: [0, 1, 0xffff_ffff, 0x8000_0000],
        empty: [],
        nothing: "",
      },
      children: {
        "node@10": { properties: { text: "another" }, children: { deeper: { properties: {} } } },
        last: { properties: {} },
      },
    };
    assertEquals(
      (await source(flatten(tree))).replace(/\s+/g, " ").trim(),
      [
        "/dts-v1/; / { cells = <0x00 0x01 0xffffffff 0x80000000>; empty; nothing = [00];",
        'text = "a text"; texts = "one\\0two"; last { };',
        'node@10 { text = "another"; deeper { }; }; };',
      ].join(" "),
    );
  },
);

testWith(
  [DTC],
  "a machine's tree has processors, RAM, the command line, and Xen with grant table and regions",
  async () => {
    const request = {
      ...requestFor(TEXT),
      xen: "on" as const,
      vcpus: 2,
      commandLine: "quiet x=1",
      memoryBytes: 5 * 2 ** 30,
      regions: REGIONS,
    };
    const text = await source(flatten(machineTree(request, memoryMap(request.memoryBytes))));
    const properties = Array.from(text.matchAll(/^\s*(.*) = (.*);$/gm), ([, name, value]) => `${name} ${value}`);
    const memory = "<0x00 0x00 0x00 0x9fc00 0x00 0x100000 0x00 0xbff00000 0x01 0x00 0x00 0x80000000>";
    const places = "<0x00 0xff800000 0x00 0x100000 0x01 0x00 0x00 0x40000000 0x180 0x00 0x07 0xffe00000>";
    for (
      const property of [
        "#address-cells <0x02>",
        "#size-cells <0x02>",
        'bootargs "quiet x=1"',
        `reg ${memory}`,
        'compatible "xen,xen-4.17\\0xen,xen"',
        `reg ${places}`,
        "reg <0x01>",
      ]
    ) assert(properties.includes(property), `${property} is not in\n${properties.join("\n")}`);
    assertEquals(properties.filter((property) => property === 'device_type "cpu"').length, 2);
  },
);

testWith(
  [DTC],
  "a guest that is told so finds virtio devices in its tree, each at an input of the I/O APIC, by edge or level",
  async () => {
    const virtio = [
      { address: 0xd000_0000, sizeBytes: 512, gsi: 5, trigger: "edge" },
      { address: 0xd000_1000, sizeBytes: 512, gsi: 11, trigger: "level" },
    ] as const;
    const request = { ...requestFor(TEXT), virtio };
    const text = async (announcement: BootRequest["announcement"]) =>
      (await source(flatten(machineTree({ ...request, announcement }, memoryMap(request.memoryBytes)))))
        .replace(/\s+/g, " ");
    const told = await text("device tree");
    for (
      const node of [
        "interrupt-controller@fec00000 { #address-cells = <0x00>; #interrupt-cells = <0x02>; " +
        'compatible = "intel,ce4100-ioapic"; interrupt-controller; phandle = <0x01>; reg = <0x00 0xfec00000 0x00 0x1000>; };',
        'lapic@fee00000 { compatible = "intel,ce4100-lapic"; intel,virtual-wire-mode; reg = <0x00 0xfee00000 0x00 0x100000>; };',
        'virtio_mmio@d0000000 { compatible = "virtio,mmio"; dma-coherent; interrupt-parent = <0x01>; ' +
        "interrupts = <0x05 0x03>; reg = <0x00 0xd0000000 0x00 0x200>; };",
        'virtio_mmio@d0001000 { compatible = "virtio,mmio"; dma-coherent; interrupt-parent = <0x01>; ' +
        "interrupts = <0x0b 0x01>; reg = <0x00 0xd0001000 0x00 0x200>; };",
      ]
    ) assert(told.includes(node), `${node} is not in\n${told}`);
    assert(!(await text("ACPI")).includes("virtio,mmio"));
  },
);

/** The first word of a tree, and its size. */
function headerAt(memory: GuestMemory, address: number): [magic: number, bytes: number] {
  const view = new DataView(Uint8Array.from(memory.bytes(address, 8)).buffer);
  return [view.getUint32(0), view.getUint32(4)];
}

Deno.test("a PVH guest gets its tree as the last module, named by its command line", () => {
  const modules = [{ name: "first", bytes: new Uint8Array(10), commandLine: "x" }];
  const plan = planBoot(requestFor(pvhImage(), { deviceTree: true, regions: REGIONS, modules }));
  const memory = new GuestMemory(plan.segments), info = plan.entry.registers.rbx!, list = memory.u64(info + 16);
  assertEquals([memory.u32(info + 12), memory.string(memory.u64(list + 32 + 16))], [2, "device-tree"]);
  assertEquals(headerAt(memory, memory.u64(list + 32)), [0xd00d_feed, memory.u64(list + 40)]);
});

Deno.test("Linux gets its tree as setup_data", () => {
  const plan = planBoot(requestFor(bzImageFile(), { deviceTree: true }));
  const memory = new GuestMemory(plan.segments), data = memory.u64(plan.entry.registers.rsi! + 0x250);
  assertEquals([memory.u64(data), memory.u32(data + 8)], [0, 2]);
  assertEquals(headerAt(memory, data + 16), [0xd00d_feed, memory.u32(data + 12)]);
  const without = planBoot(requestFor(bzImageFile()));
  assertEquals(new GuestMemory(without.segments).u64(without.entry.registers.rsi! + 0x250), 0);
});

Deno.test("formats that carry no tree say so", () => {
  assertThrows(() => planBoot(requestFor(TEXT, { deviceTree: true })), ImageError, "carries no device tree");
  const old = bzImageFile({ version: 0x208 });
  assertThrows(() => planBoot(requestFor(old, { deviceTree: true })), ImageError, "takes no device tree");
});

Deno.test("the plan of a guest that finds Xen has extended regions, and no other", () => {
  const kept = (image: Uint8Array, xen: "auto" | "on" | "off") => {
    const { findsXen, regions, memoryMap } = planBoot(requestFor(image, { xen, regions: REGIONS }));
    const told = memoryMap.filter(({ type }) => type === MEMORY_TYPE.UNUSABLE);
    assertEquals(told.map(({ address, sizeBytes }) => ({ address, sizeBytes })), [...regions]);
    return [findsXen, regions.length];
  };
  for (const [image, auto] of [[pvhImage(), true], [bzImageFile(), false]] as const) {
    assertEquals([kept(image, "auto"), kept(image, "on"), kept(image, "off")], [[auto, auto ? 2 : 0], [true, 2], [
      false,
      0,
    ]]);
  }
});
