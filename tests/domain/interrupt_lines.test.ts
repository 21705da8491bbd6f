/** InterruptLines: what each line's level is when several drive it, what drives nothing, and what is refused. */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InterruptLines, pciGsi, pciLink } from "../../src/domain/interrupt_lines.ts";
import { IO_APIC } from "../../src/devices/platform_map.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import { EINVAL } from "../../src/linux/errno.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);

/** Lines whose VM writes down what it is told. */
class Subject {
  readonly levels = new Int32Array(1024);
  readonly driven: [gsi: number, level: boolean][] = [];
  readonly messages: [address: number, data: number][] = [];
  readonly lines = this.view();

  /** Another isolate's. */
  view(): InterruptLines {
    return new InterruptLines(this.levels, {
      setIrqLevel: (gsi, level) => this.driven.push([gsi, level]),
      signalMsi: (address, data) => this.messages.push([address, data]) > 0,
    });
  }

  /** What was driven since the last call. */
  take(): [gsi: number, level: boolean][] {
    return this.driven.splice(0);
  }

  /** INTA is pin 0. */
  pin(device: number, pin: number, level: boolean): [gsi: number, level: boolean][] {
    this.lines.setPciIntx(0, 0, device, pin, level);
    return this.take();
  }
}

Deno.test("a line follows its level, and repeating one drives nothing", () => {
  const subject = new Subject();
  for (const gsi of [0, 4, 15, 16, 23]) {
    const expected = [[true, 1], [true, 0], [false, 1], [false, 0], [true, 1]] as const;
    for (const [level, times] of expected) {
      subject.lines.setLevel(gsi, level);
      assertEquals(subject.take(), times === 1 ? [[gsi, level]] : [], `GSI ${gsi}`);
    }
  }
});

Deno.test("pins of PCI devices have the GSIs from 16 on and the links of Xen, in Xen's order", () => {
  const rows: [device: number, pin: number, gsi: number, link: number][] = [
    [0, 0, 16, 0],
    [0, 3, 19, 3],
    [1, 0, 20, 1],
    [1, 3, 23, 0],
    [2, 0, 16, 2],
    [8, 0, 17, 0],
    [31, 3, 16 + ((31 * 4 + 3 + 3) & 31) % 8, 2],
  ];
  for (const [device, pin, gsi, link] of rows) assertEquals([pciGsi(device, pin), pciLink(device, pin)], [gsi, link]);
  for (let device = 0; device < 32; device++) {
    for (let pin = 0; pin < 4; pin++) {
      assertEquals(pciGsi(device, pin) >= 16 && pciGsi(device, pin) < IO_APIC.pins, true);
    }
  }
});

Deno.test("a line that PCI pins share is high while any of them is, whichever goes first", () => {
  for (const [first, second] of [[0, 2], [2, 0]]) { // devices whose INTA is GSI 16
    const subject = new Subject();
    const levels = [
      subject.pin(0, 0, true),
      subject.pin(2, 0, true),
      subject.pin(first, 0, false),
      subject.pin(first, 0, false),
      subject.pin(second, 0, false),
    ].map((driven) => driven.at(-1));
    assertEquals(levels, [[16, true], [16, true], [16, true], undefined, [16, false]]);
  }
});

Deno.test("a pin that repeats its level drives nothing, and counts once", () => {
  const subject = new Subject();
  subject.pin(5, 1, true);
  assertEquals([subject.pin(5, 1, true), subject.pin(5, 1, false).at(-1)], [[], [pciGsi(5, 1), false]]);
  assertEquals(subject.pin(5, 1, false), []);
});

Deno.test("a line's own level and its pins' are one level", () => {
  const subject = new Subject();
  subject.lines.setLevel(16, true);
  subject.pin(0, 0, true);
  subject.lines.setLevel(16, false);
  assertEquals(subject.take().at(-1), [16, true]);
  assertEquals(subject.pin(0, 0, false), [[16, false]]);
});

Deno.test("a link leads its pins to an ISA interrupt too, which is high while any of them or its own driver is", () => {
  const subject = new Subject(), { lines } = subject;
  lines.setPciLinkRoute(1, 5);
  assertEquals(subject.take(), [], "no pin is high");
  assertEquals(subject.pin(1, 0, true), [[20, true], [5, true]]);
  lines.setLevel(5, true);
  subject.take();
  assertEquals(subject.pin(1, 0, false), [[20, false], [5, true]]);
  lines.setLevel(5, false);
  assertEquals(subject.take(), [[5, false]]);
});

Deno.test("changing a link's route takes the pins that are high from the old interrupt to the new one", () => {
  const subject = new Subject(), { lines } = subject;
  lines.setPciLinkRoute(1, 5);
  subject.pin(1, 0, true);
  subject.pin(5, 0, true);
  subject.pin(2, 0, true); // of another link
  lines.setPciLinkRoute(1, 10);
  const last = new Map(subject.take());
  assertEquals([last.get(5), last.get(10)], [false, true]);
  lines.setPciLinkRoute(1, 10);
  assertEquals(subject.take(), [], "the same route again");
  lines.setPciLinkRoute(1, 0);
  assertEquals(new Map(subject.take()), new Map([[10, false]]));
  assertEquals(subject.pin(1, 0, false), [[20, true]], "device 5's");
  assertEquals(subject.pin(5, 0, false), [[20, false]]);
});

Deno.test("several isolates drive one set of lines", () => {
  const subject = new Subject(), other = subject.view();
  subject.pin(0, 0, true);
  other.setPciIntx(0, 0, 2, 0, true);
  other.setPciIntx(0, 0, 0, 0, false);
  assertEquals(subject.take().at(-1), [16, true]);
  assertEquals(subject.pin(2, 0, false), [[16, false]]);
});

Deno.test("two isolates that drive a line at once leave it at the level that was set last", () => {
  const subject = new Subject(), other = subject.view();
  const lines = new InterruptLines(subject.levels, {
    setIrqLevel(gsi, level) {
      if (subject.driven.length === 0) other.setLevel(4, false); // between the look and the ioctl
      subject.driven.push([gsi, level]);
    },
    signalMsi: () => true,
  });
  lines.setLevel(4, true);
  assertEquals(subject.take().at(-1), [4, false]);
});

Deno.test("what is no interrupt is EINVAL, and changes nothing", () => {
  const subject = new Subject(), { lines } = subject;
  const refused: [string, () => void][] = [
    ["set_irq_level", () => lines.setLevel(24, true)],
    ["set_irq_level", () => lines.setLevel(-1, true)],
    ["set_irq_level", () => lines.setLevel(1.5, true)],
    ["set_irq_level", () => lines.setLevel(NaN, true)],
    ["set_isa_irq_level", () => lines.setIsaLevel(16, true)],
    ["set_isa_irq_level", () => lines.setIsaLevel(-1, true)],
    ["set_pci_intx_level", () => lines.setPciIntx(1, 0, 0, 0, true)],
    ["set_pci_intx_level", () => lines.setPciIntx(0, 1, 0, 0, true)],
    ["set_pci_intx_level", () => lines.setPciIntx(0, 0, 32, 0, true)],
    ["set_pci_intx_level", () => lines.setPciIntx(0, 0, 0, 4, true)],
    ["set_pci_intx_level", () => lines.setPciIntx(0, 0, -1, 0, true)],
    ["set_pci_intx_level", () => lines.setPciIntx(0, 0, 0, 0.5, true)],
    ["set_pci_link_route", () => lines.setPciLinkRoute(4, 5)],
    ["set_pci_link_route", () => lines.setPciLinkRoute(0, 16)],
    ["set_pci_link_route", () => lines.setPciLinkRoute(-1, 5)],
  ];
  for (const [operation, body] of refused) {
    const error = assertThrows(body, DmOpError);
    assertEquals([error.operation, error.errno], [operation, EINVAL]);
  }
  assertEquals([subject.driven, subject.levels.every((word) => word === 0)], [[], true]);
});

Deno.test("a message goes to KVM as it is", () => {
  const subject = new Subject();
  subject.lines.injectMsi(0xfee0_1000, 0x4041);
  subject.lines.injectMsi(2 ** 32 * 5 + 0xfee0_0000, 0xffff_ffff);
  assertEquals(subject.messages, [[0xfee0_1000, 0x4041], [2 ** 32 * 5 + 0xfee0_0000, 0xffff_ffff]]);
});

Deno.test("every line has the level that its drivers give it, whatever they do", () => {
  const step = fc.oneof(
    fc.record({ gsi: fc.nat(23), level: fc.boolean() }),
    fc.record({ device: fc.nat(31), pin: fc.nat(3), level: fc.boolean() }),
    fc.record({ link: fc.nat(3), irq: fc.nat(15) }),
  );
  const property = fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
    const subject = new Subject(), { lines } = subject, guest: boolean[] = new Array(24).fill(false);
    const own = new Set<number>(), pins = new Set<number>(), routes = [0, 0, 0, 0];
    const set = (members: Set<number>, member: number, level: boolean) => {
      if (level) members.add(member);
      else members.delete(member);
    };
    for (const step of steps) {
      if ("gsi" in step) {
        lines.setLevel(step.gsi, step.level);
        set(own, step.gsi, step.level);
      } else if ("device" in step) {
        lines.setPciIntx(0, 0, step.device, step.pin, step.level);
        set(pins, step.device * 4 + step.pin, step.level);
      } else {
        lines.setPciLinkRoute(step.link, step.irq);
        routes[step.link] = step.irq;
      }
      for (const [gsi, level] of subject.take()) guest[gsi] = level;
      const high = new Set(own);
      for (const pin of pins) {
        high.add(pciGsi(pin >> 2, pin & 3));
        const route = routes[pciLink(pin >> 2, pin & 3)];
        if (route !== 0) high.add(route);
      }
      assertEquals(guest.flatMap((level, gsi) => level ? [gsi] : []), [...high].sort((one, two) => one - two));
    }
  });
  fc.assert(property, { numRuns: RUNS });
});
